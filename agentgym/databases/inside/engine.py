"""What a world's process needs of a database library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from agentgym.database import Access, Row, Table, Template

MAX_BYTES = 16 << 20
"""Of texts in one result: what a policy reads is shorter, and what a grader compares as well."""
MAX_TABLE_ROWS, MAX_TABLE_BYTES = 1_000_000, 128 << 20
"""Of a table whose state is compared."""
BATCH = 256


class Refused(Exception):
    """What the statement did wrong; the world is as good as before."""


class GiveWay(Exception):
    """The process is not to be trusted any more; its second copy is to go on. The text says why."""


class Engine(Protocol):
    """A database in memory, which is made from a template."""

    def __init__(self, template: Template) -> None: ...

    def lock(self, memory: int) -> None:
        """From now on what a policy wrote may come. memory: bytes that it may take besides what it has."""
        ...

    def execute(self, sql: str, max_rows: int, access: Access) -> Table:
        """Raises Refused or GiveWay."""
        ...

    def state(self) -> dict[str, Table]:
        """Every table in full."""
        ...


class Cursor(Protocol):
    """What both libraries' cursors have."""

    def fetchmany(self, size: int, /) -> Sequence[Row]: ...


def fetch(cursor: Cursor, columns: Sequence[str], max_rows: int, max_bytes: int = MAX_BYTES) -> Table:
    """The first rows of a result. Raises Refused where their texts are too long."""
    rows: list[Row] = []
    size = 0
    for row in _rows(cursor):
        if len(rows) == max_rows:
            return Table(tuple(columns), tuple(rows), truncated=True)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if size > max_bytes:
            raise Refused(f"the result is too large: more than {max_bytes >> 20} MB of text")
        rows.append(row)
    return Table(tuple(columns), tuple(rows))


def fetch_whole(cursor: Cursor, columns: Sequence[str]) -> Table:
    """A table. Raises Refused for one that is too large to be looked at."""
    table = fetch(cursor, columns, MAX_TABLE_ROWS, MAX_TABLE_BYTES)
    if table.truncated:
        raise Refused(f"a table is too large: more than {MAX_TABLE_ROWS:,} rows")
    return table


def _rows(cursor: Cursor) -> Iterator[Row]:
    while batch := cursor.fetchmany(BATCH):
        yield from batch
