"""Tool `sql`: a database of the episode's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from agentgym.database import Access, Database, DatabaseHost, Table, Template, Value
from agentgym.databases.worlds import Worlds
from agentgym.ranges import above
from agentgym.tool import Limits, ToolContext
from agentgym.tools.python import strip_fence

MORE = "... (more rows are left out)"
NO_ROWS = "(no rows)"


@dataclass(eq=False)
class Sql:
    """database: what it begins with, see Template. access: `read`, `write` or `transaction`, see Access. max_rows:
    rows of a result that are shown. max_cell: characters of a value that are shown. max_tokens: of a result that a
    policy sees. seconds: of processor time that a statement may take. memory_mb: that the database may take
    besides what it begins with.
    """

    examples: ClassVar = [
        {"query": "SELECT 6 * 7 AS answer"},
        {"query": "CREATE TABLE notes AS SELECT 1 AS id, 'first' AS text"},
        {"query": "SELECT name FROM sqlite_master"},
    ]

    database: dict[str, str] = field(default_factory=lambda: {"dialect": "sqlite"})
    access: Access = "transaction"
    max_rows: int = 20
    max_cell: int = 200
    max_tokens: int = 512
    seconds: float = 5.0
    memory_mb: int = 256
    _world: Database | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        above(self, 0, "max_rows", "max_cell", "max_tokens")
        self.template = Template.of(self.database)
        self.worlds = Worlds(self.seconds, self.memory_mb)

    @property
    def limits(self) -> Limits:
        """The world itself ends what takes too long, and tells of it; this is for when it does not even do
        that."""
        return Limits(timeout=2 * self.worlds.patience, max_tokens=self.max_tokens)

    async def __call__(self, query: str, context: ToolContext) -> str:
        """Run one SQL statement on the database and see the first rows of its result.

        Args:
            query: The statement.
        """
        world = await self.open(context)
        return render(await world.execute(strip_fence(query), self.max_rows), self.max_cell)

    async def open(self, context: ToolContext) -> Database:
        """The episode's world."""
        if self._world is None:
            host: DatabaseHost = await context.services.get(self.worlds)
            self._world = await host.open(self.template, self.access)
        return self._world

    async def fork(self) -> Sql:
        """The same database, with whatever transaction is open."""
        twin = replace(self)
        if self._world is not None:
            twin._world = await self._world.fork()
        return twin

    async def close(self) -> None:
        """End the world; may be called twice."""
        if self._world is not None:
            await self._world.close()


def render(table: Table, max_cell: int) -> str:
    """A line with the names of the columns, one for each row, and a mark where there are more."""
    if not table.columns:
        return "(done)"
    lines = [
        " | ".join(table.columns),
        *(" | ".join(show(value, max_cell) for value in row) for row in table.rows),
    ]
    if table.truncated:
        lines.append(MORE)
    elif not table.rows:
        lines.append(NO_ROWS)
    return "\n".join(lines)


def show(value: Value, max_cell: int) -> str:
    """A value in a row."""
    match value:
        case None:
            return "NULL"
        case bytes():
            text = f"x'{value[:max_cell].hex()}'"
        case _:
            text = str(value)
    return text if len(text) <= max_cell else f"{text[:max_cell]}..."
