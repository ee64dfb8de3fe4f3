"""The database contract: a world of tables that runs the policy's SQL, and that branches."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol, get_args

from agentgym.config import convert
from agentgym.errors import ConfigError, TaskError

Dialect = Literal["sqlite", "duckdb"]
Access = Literal["read", "write", "transaction"]
"""What may be done in a world: only ask; change data and tables, each statement for itself; or several statements
as a transaction as well."""
Value = (
    None
    | bool
    | int
    | float
    | str
    | bytes
    | Decimal
    | datetime.date
    | datetime.time
    | datetime.datetime
    | datetime.timedelta
)
Row = tuple[Value, ...]


def quoted(name: str) -> str:
    """A name as both dialects write it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a result, or of a table. truncated: there are more rows, which were left out."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """What a world begins with: a database file, which is only read, or a script of statements; else it is
    empty."""

    dialect: Dialect
    file: str = ""
    script: str = ""

    def __post_init__(self) -> None:
        if self.dialect not in get_args(Dialect):
            raise TaskError(f"dialect {self.dialect!r} of a database: it must be one of {get_args(Dialect)}")
        if self.file and self.script:
            raise TaskError("a database is given by 'file' or by 'script', and not by both")

    @classmethod
    def of(cls, info: Any) -> Template:
        """From a table, as tasks and configs have it; raises TaskError for what is none."""
        if not isinstance(info, Mapping):
            raise TaskError(f"a database is a table with 'dialect' and 'file' or 'script', not {info!r:.80}")
        try:
            return convert(cls, info, "database")
        except ConfigError as error:
            raise TaskError(str(error)) from error

    def to_table(self) -> dict[str, str]:
        """What `of` makes it from."""
        table = {"dialect": self.dialect, "file": self.file, "script": self.script}
        return {name: value for name, value in table.items() if value}


class Database(Protocol):
    """One world. Raises SqlError for what the statement did wrong, and EnvError when the world itself failed;
    after that it is gone for good."""

    async def execute(self, sql: str, max_rows: int) -> Table:
        """Run one statement; at most `max_rows` rows of its result. What returns none gives an empty Table."""
        ...

    async def state(self) -> Mapping[str, Table]:
        """All that can be read in it: every table by its name, in full, rows in no order to rely on."""
        ...

    async def fork(self) -> Database:
        """A second world in the same state, open transaction included; afterwards neither sees the other's
        writes."""
        ...

    async def close(self) -> None:
        """End it; may be called twice."""
        ...


class DatabaseHost(Protocol):
    """What the worlds of a run share: the templates, each loaded once."""

    async def load(self, template: Template) -> None:
        """Have it loaded before it is used. Raises TaskError for one that cannot be loaded."""
        ...

    async def open(self, template: Template, access: Access = "read") -> Database:
        """A fresh world. Raises TaskError for a template that cannot be loaded."""
        ...

    async def close(self) -> None: ...
