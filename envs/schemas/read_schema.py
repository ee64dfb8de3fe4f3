"""The schema of a database."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from agentgym.database import Dialect, quoted
from agentgym.envs.schemas.schema import Column, Connection, Key, Link, Schema, Table


def read_schema(connection: Connection, dialect: Dialect) -> Schema:
    """Tables with their keys and links, and what makes them, views and indexes included."""
    return _from_sqlite(connection) if dialect == "sqlite" else _from_duckdb(connection)


def _from_sqlite(connection: Connection) -> Schema:
    made = connection.execute(
        "select type, name, sql from sqlite_master where substr(name, 1, 7) <> 'sqlite_' and sql is not null "
        "order by type = 'table' desc, rowid"
    ).fetchall()
    tables = [_sqlite_table(connection, name) for kind, name, _ in made if kind == "table"]
    return Schema("sqlite", _in_order(tables), tuple(sql.rstrip().rstrip(";") for _, _, sql in made))


def _sqlite_table(connection: Connection, name: str) -> Table:
    columns, primary = [], {}
    for _, column, kind, required, _, place in connection.execute(f"pragma table_info({quoted(name)})").fetchall():
        columns.append(Column(column, kind.upper(), bool(required or place)))
        if place:
            primary[place] = column.lower()
    keys = [tuple(primary[place] for place in sorted(primary))] if primary else []
    for _, index, unique, origin, *_ in connection.execute(f"pragma index_list({quoted(name)})").fetchall():
        if unique and origin != "pk":
            parts = [part for *_, part in connection.execute(f"pragma index_info({quoted(index)})").fetchall()]
            keys += [_key(parts)] if None not in parts else []
    links: dict[int, list[Any]] = defaultdict(list)
    for number, _, table, column, other, *_ in connection.execute(
        f"pragma foreign_key_list({quoted(name)})"
    ).fetchall():
        links[number].append((table, column, other))
    return Table(name, tuple(columns), tuple(keys), tuple(_sqlite_link(parts) for parts in links.values()))


def _sqlite_link(parts: list[Any]) -> Link:
    """Without names of the other's columns (empty here) its primary key is meant."""
    keys = [other for _, _, other in parts]
    return Link(_key([column for _, column, _ in parts]), parts[0][0].lower(), () if None in keys else _key(keys))


def _from_duckdb(connection: Connection) -> Schema:
    columns: dict[str, list[Column]] = defaultdict(list)
    for table, column, kind, nullable in connection.execute(
        "select table_name, column_name, data_type, is_nullable from duckdb_columns() where not internal "
        "order by table_oid, column_index"
    ).fetchall():
        columns[table].append(Column(column, kind, not nullable))
    keys: dict[str, list[Key]] = defaultdict(list)
    links: dict[str, list[Link]] = defaultdict(list)
    for table, kind, names, other, others in connection.execute(
        "select table_name, constraint_type, constraint_column_names, referenced_table, referenced_column_names "
        "from duckdb_constraints() order by constraint_type <> 'PRIMARY KEY', constraint_index"
    ).fetchall():
        if kind in ("PRIMARY KEY", "UNIQUE"):
            keys[table].append(_key(names))
        elif kind == "FOREIGN KEY":
            links[table].append(Link(_key(names), other.lower(), _key(others)))
    made = connection.execute(
        "select table_name, sql from duckdb_tables() where not internal order by table_oid"
    ).fetchall()
    tables = [Table(name, tuple(columns[name]), tuple(keys[name]), tuple(links[name])) for name, _ in made]
    views = connection.execute("select sql from duckdb_views() where not internal").fetchall()
    scripts = {name.lower(): sql.rstrip().rstrip(";") for name, sql in made}
    ordered = _in_order(tables)
    return Schema(
        "duckdb", ordered, (*(scripts[name] for name in ordered), *(sql.rstrip(";\n") for (sql,) in views))
    )


def _key(names: list[str]) -> Key:
    return tuple(name.lower() for name in names)


def _in_order(tables: list[Table]) -> dict[str, Table]:
    """Those that are referred to first, with links that lead nowhere left out."""
    known = {table.name.lower(): table for table in tables}
    ordered: dict[str, Table] = {}

    def put(table: Table, above: tuple[str, ...]) -> None:
        name = table.name.lower()
        if name in ordered or name in above:
            return
        links = [link for link in (_resolved(link, known) for link in table.links) if link]
        for link in links:
            put(known[link.table], (*above, name))
        ordered[name] = Table(table.name, table.columns, table.keys, tuple(links))

    for table in tables:
        put(table, ())
    return ordered


def _resolved(link: Link, known: dict[str, Table]) -> Link | None:
    """None for a link to what is not there, as real databases have them."""
    table = known.get(link.table)
    if table is None:
        return None
    keys = link.keys or (table.keys[0] if table.keys else ())
    fits = len(keys) == len(link.columns) and all(table.column(key) for key in keys)
    return Link(link.columns, link.table, keys) if fits else None
