"""Tables as they were declared, and connections to databases that are trusted: a task's own, and made ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agentgym.database import Dialect, Template
from agentgym.errors import TaskError

Key = tuple[str, ...]
"""Names of columns, in lower case like all names here that are looked up."""

STEPS = 100_000_000
"""Of SQLite's machine: a query that takes more (seconds) fails."""


class Connection(Protocol):
    """What sqlite3's and duckdb's connections share."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Column:
    """type: as declared, in capitals. required: whether it refuses NULL."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key: `columns` say `keys` of `table`."""

    columns: Key
    table: str
    keys: Key


@dataclass(frozen=True, slots=True)
class Table:
    """keys: what no two rows share, the primary key first."""

    name: str
    columns: tuple[Column, ...]
    keys: tuple[Key, ...]
    links: tuple[Link, ...]

    def column(self, name: str) -> Column | None:
        """By its name in any case."""
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Schema:
    """tables: by name, those that are referred to first. script: the statements that make them."""

    dialect: Dialect
    tables: dict[str, Table]
    script: tuple[str, ...]


def errors(dialect: Dialect) -> type[Exception]:
    """What the dialect's connections raise."""
    if dialect == "sqlite":
        import sqlite3

        return sqlite3.Error
    import duckdb

    error: type[Exception] = duckdb.Error
    return error


def connect(dialect: Dialect, file: str = ":memory:") -> Connection:
    """A database in memory, or a file to be read only. Raises TaskError for one that cannot be opened."""
    try:
        if dialect == "sqlite":
            import sqlite3

            where = ":memory:" if file == ":memory:" else f"{Path(file).resolve().as_uri()}?mode=ro&immutable=1"
            lite = sqlite3.connect(where, uri=True, isolation_level=None)
            lite.set_progress_handler(lambda: True, STEPS)
            lite.text_factory = lambda data: data.decode(errors="replace")  # as worlds read it
            connection: Connection = lite
        else:
            import duckdb

            connection = duckdb.connect(file, read_only=file != ":memory:", config={"threads": 1})
        connection.execute("select count(*) from sqlite_master")
    except errors(dialect) as error:
        raise TaskError(f"{file}: no database of {dialect}: {error}") from error
    return connection


def opened(template: Template) -> Connection:
    """The template's database, to be read. Raises TaskError."""
    if template.file:
        return connect(template.dialect, template.file)
    connection = connect(template.dialect)
    try:
        run_script(connection, template.dialect, template.script)
    except errors(template.dialect) as error:
        connection.close()
        raise TaskError(f"a database's script failed: {error}") from error
    return connection


def run_script(connection: Any, dialect: Dialect, script: str) -> None:
    """Run statements, the last of which ends like the others."""
    connection.executescript(script) if dialect == "sqlite" else connection.execute(script)
