"""DuckDB in memory, with its configuration locked. One thread, since a fork has no other."""

from __future__ import annotations

import duckdb

from agentgym.database import Access, Table, Template, quoted
from agentgym.databases.inside.engine import GiveWay, Refused, fetch, fetch_whole
from agentgym.sandboxes.inside.zygote import mapped

OPENED: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "async_threads": 0,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
}
LOCKED = {
    "temp_directory": "''",
    "max_expression_depth": "250",
    "enable_external_access": "false",
    "lock_configuration": "true",  # the last one
}
READ = {"SELECT", "EXPLAIN", "MULTI"}  # MULTI: a PIVOT
WRITE = READ | {"INSERT", "UPDATE", "DELETE", "MERGE_INTO", "CREATE", "ALTER", "DROP"}
SILENT = {"CREATE", "ALTER", "DROP", "TRANSACTION"}
"""What has no result worth telling."""
ALLOWED: dict[Access, set[str]] = {"read": READ, "write": WRITE, "transaction": WRITE | {"TRANSACTION"}}
BROKEN = (duckdb.FatalException, duckdb.InternalException)
SHOWN = "SELECT schema_name, table_name FROM system.main.duckdb_tables() WHERE NOT internal AND NOT temporary"


class DuckDb:
    """One connection."""

    def __init__(self, template: Template) -> None:
        self.connection = duckdb.connect(":memory:", config=OPENED)
        if template.file:
            path = template.file.replace("'", "''")
            self.connection.execute(f"ATTACH '{path}' AS template (READ_ONLY)")
            self.connection.execute("COPY FROM DATABASE template TO memory")
            self.connection.execute("DETACH template")
        elif template.script:
            self.connection.execute(template.script)

    def lock(self, memory: int) -> None:
        """See Engine."""
        self.connection.execute(f"SET memory_limit = '{(mapped() + memory) >> 20}MiB'")
        self.connection.execute("SELECT setseed(0)").fetchall()
        for name, value in LOCKED.items():
            self.connection.execute(f"SET {name} = {value}")

    def execute(self, sql: str, max_rows: int, access: Access) -> Table:
        """See Engine."""
        try:
            statements = self.connection.extract_statements(sql)
            if len(statements) != 1:
                raise Refused(f"one statement at a time, not {len(statements)}")
            [statement] = statements
            kind = statement.type.name
            if kind not in ALLOWED[access]:
                raise Refused(f"{kind.replace('_', ' ')} is not allowed here")
            return self.ask(statement, max_rows) if access == "read" else self.run(statement, max_rows)
        except (MemoryError, duckdb.OutOfMemoryException):
            raise GiveWay("it takes too much memory") from None
        except BROKEN as error:
            raise GiveWay(f"the database cannot do that: {_first_line(error)}") from None
        except duckdb.Error as error:
            raise Refused(str(error)) from None
        except (ValueError, RuntimeError) as error:  # a kind of statement that the library has no name for
            raise Refused(f"not a statement that is allowed here: {_first_line(error)}") from None

    def ask(self, statement: duckdb.Statement, max_rows: int) -> Table:
        """Run a statement that must not change anything, such as an EXPLAIN ANALYZE of one that would."""
        self.connection.execute("BEGIN TRANSACTION READ ONLY")
        try:
            return self.run(statement, max_rows)
        finally:
            self.connection.execute("ROLLBACK")

    def run(self, statement: duckdb.Statement, max_rows: int) -> Table:
        """Run a statement."""
        self.connection.execute(statement)
        if statement.type.name in SILENT:
            return Table((), ())
        return fetch(self.connection, [name for name, *_ in self.connection.description or ()], max_rows)

    def state(self) -> dict[str, Table]:
        """See Engine."""
        try:
            tables = self.connection.execute(SHOWN).fetchall()
            return {_qualified(schema, name): self.table(schema, name) for schema, name in tables}
        except duckdb.Error as error:  # a transaction has failed, and shows nothing until it is rolled back
            raise Refused(str(error)) from None

    def table(self, schema: str, name: str) -> Table:
        """One of them, and not a temporary one of its name."""
        self.connection.execute(f"SELECT * FROM memory.{quoted(schema)}.{quoted(name)}")
        return fetch_whole(self.connection, [column for column, *_ in self.connection.description or ()])


def _qualified(schema: str, name: str) -> str:
    return name if schema == "main" else f"{schema}.{name}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
