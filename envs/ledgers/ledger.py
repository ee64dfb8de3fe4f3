"""A database of invented tables, made from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from agentgym.envs.worlds.names import SHORT_NAMES
from agentgym.ranges import within

NAMES = [name for name in SHORT_NAMES if name not in ("For", "Min")]
"""Of tables, columns and rows: those that SQL has for nothing else."""
LOWEST, SPREAD = 10, 45
"""A column's numbers lie within SPREAD of one another, from a lowest that no other column says."""


@dataclass(frozen=True)
class Link:
    """A column that says, for each name of its own table, a name of another one's."""

    column: str
    table: str
    ends: dict[str, str]


@dataclass(frozen=True)
class LedgerTable:
    """numbers: columns beside `name`. rows: by name, the numbers."""

    name: str
    numbers: tuple[str, ...]
    rows: dict[str, tuple[int, ...]]
    link: Link | None

    def column(self, at: int) -> list[int]:
        """A column's numbers."""
        return [row[at] for row in self.rows.values()]

    def script(self) -> str:
        """The statements that make it."""
        columns = ["name text primary key", *(f"{column} int" for column in self.numbers)]
        rows: list[tuple[str | int, ...]] = [(name, *row) for name, row in self.rows.items()]
        if self.link:
            columns.append(f"{self.link.column} text references {self.link.table}(name)")
            rows = [(*row, end) for row, end in zip(rows, self.link.ends.values(), strict=True)]
        values = ", ".join(f"({', '.join(map(repr, row))})" for row in rows)
        return f"create table {self.name}({', '.join(columns)});\ninsert into {self.name} values {values};\n"


@dataclass(frozen=True)
class Ledger:
    """tables: how many; each but the first is linked to the one before. numbers: number columns of each. rows: of
    each. other: with other numbers and links, everything called the same."""

    seed: int
    tables: int = 3
    numbers: int = 2
    rows: int = 16
    other: bool = False

    def __post_init__(self) -> None:
        within(self, 2, 8, "tables")
        within(self, 1, 8, "numbers")
        within(self, 12, 40, "rows")

    @cached_property
    def made(self) -> tuple[LedgerTable, ...]:
        """The tables, one that is referred to before those that refer to it."""
        rng = random.Random(f"{self.seed} {self.other}")
        words = iter(random.Random(self.seed).sample(NAMES, len(NAMES)))
        tables: list[LedgerTable] = []
        for _ in range(self.tables):
            name, *numbers = islice(words, 1 + self.numbers)
            names = list(islice(words, self.rows))
            columns = [self._draw(rng) for _ in numbers]
            rows = dict(zip(names, zip(*columns, strict=True), strict=True))
            link = self._link(next(words), names, tables[-1], rng) if tables else None
            tables.append(LedgerTable(name, tuple(numbers), rows, link))
        return tuple(tables)

    def script(self) -> str:
        """The statements that make the database."""
        return "".join(table.script() for table in self.made)

    def _link(self, column: str, names: list[str], to: LedgerTable, rng: random.Random) -> Link:
        ends = rng.choices(list(to.rows), k=len(names))
        return Link(column, to.name, dict(zip(names, ends, strict=True)))

    def _draw(self, rng: random.Random) -> list[int]:
        """Numbers of two digits, all different, so that one is the highest and one the lowest."""
        lowest = rng.randint(LOWEST, 100 - SPREAD)
        return rng.sample(range(lowest, lowest + SPREAD), self.rows)
