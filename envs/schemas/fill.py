"""Rows for a schema: values like those of a database, in other company."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentgym.database import quoted
from agentgym.envs.schemas.schema import Column, Connection, Schema, Table, connect, errors
from agentgym.errors import TaskError

POOL = 60
"""Values of a column that are used again."""
READ = 10_000
"""Rows that are looked through for them."""
FEW = 6
"""A column with no more values than these, and close to one another, is one of kinds: there are no others."""
TRIES = 20
"""Rows tried before a table is full: its constraints may leave no room for more."""


class Filling:
    """A database in memory with the schema, which gets its rows here, those that are referred to first.

    source: the database whose values are used again.
    """

    def __init__(self, schema: Schema, source: Connection, rng: random.Random) -> None:
        self.schema, self.rng = schema, rng
        self.connection = connect(schema.dialect)
        self._error = errors(schema.dialect)
        for statement in schema.script:
            try:
                self.connection.execute(statement)
            except self._error as error:
                raise TaskError(f"a table cannot be made again: {error}: {statement}") from error
        self.pools: dict[tuple[str, str], list[Any]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in schema.tables}
        self._sizes: dict[str, int] = {}
        self._apart: dict[str, int] = dict.fromkeys(schema.tables, 0)
        for name, table in schema.tables.items():
            self._look(source, name, table)

    def _look(self, source: Connection, name: str, table: Table) -> None:
        (self._sizes[name],) = source.execute(f"select count(*) from {quoted(table.name)}").fetchone()
        for column in table.columns:
            read = f"select {quoted(column.name)} from {quoted(table.name)} limit {READ}"
            values = list(dict.fromkeys(value for (value,) in source.execute(read).fetchall()))
            size = self.rng.randint(-(-len(values) // 2), len(values))  # not all kinds need be there
            self.pools[name, column.name.lower()] = self.rng.sample(values, min(POOL, size))

    def fill(self) -> None:
        """Random rows into every table, not as many as the source has. They do not refer to those before, which
        may be meant to be referred to by none."""
        self._apart = {name: len(rows) for name, rows in self._rows.items()}
        for name in self.schema.tables:
            wanted = self.rng.randint(12, 40)
            wanted += wanted == self._sizes[name]
            misses = 0
            while len(self._rows[name]) < wanted and misses < TRIES:
                misses += self.insert(name, {}) is None

    def insert(self, name: str, given: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """A row with the given values, and others by chance; what it refers to is inserted where it is missing.
        None where the table has no place for it."""
        table = self.schema.tables[name]
        row = dict(given)
        for link in table.links:
            if not self._linked(row, link.columns, link.table, link.keys, (*above, name)):
                return None
        for column in table.columns:
            key = column.name.lower()
            if key not in row:
                row[key] = self._value(name, column, unique=any(key in unique for unique in table.keys))
        values = [row[column.name.lower()] for column in table.columns]
        places = ", ".join("?" * len(values))
        try:
            self.connection.execute(f"insert into {quoted(table.name)} values ({places})", values)
        except self._error:
            return None
        self._rows[name].append(row)
        return row

    def _linked(
        self, row: dict[str, Any], columns: Sequence[str], to: str, keys: Sequence[str], above: tuple[str, ...]
    ) -> bool:
        """Let the row refer to one that is there."""
        said = {key: row[column] for column, key in zip(columns, keys, strict=True) if column in row}
        rows = self._rows[to] if said else self._rows[to][self._apart[to] :] or self._rows[to]
        others = [other for other in rows if all(other[key] == value for key, value in said.items())]
        if None in said.values():
            return True
        if (not others or (not said and len(others) < 4 and self.rng.random() < 0.5)) and to not in above:
            parent = self.insert(to, said, above)
            others = [parent] if parent else others
        if others:
            other = _skewed(self.rng, others[: max(1, len(others) * 4 // 5)])  # some are referred to by none
            row.update({column: other[key] for column, key in zip(columns, keys, strict=True)})
        elif to in above:
            row.update(dict.fromkeys(columns))
        return bool(others) or to in above

    def _value(self, name: str, column: Column, unique: bool) -> Any:
        pool = self.pools[name, column.name.lower()]
        if column.required:
            pool = [value for value in pool if value is not None]
        if unique:
            return self._fresh(pool, column) if self.rng.random() < 0.5 or not pool else self.rng.choice(pool)
        between = _between(pool, self.rng)
        if between is not None and self.rng.random() < 0.5 and (len(pool) > FEW or not _are_kinds(pool)):
            return between
        return _skewed(self.rng, pool) if pool else self._fresh(pool, column)

    def fresh(self, name: str, column: str) -> Any:
        """A value that its column hardly has yet."""
        found = self.schema.tables[name].column(column)
        assert found, "a column of the table"
        return self._fresh(self.pools[name, column], found)

    def _fresh(self, pool: Iterable[Any], column: Column) -> Any:
        pool = [value for value in pool if value is not None]
        number = self.rng.randint(1000, 999_999)
        if pool and all(isinstance(value, str) for value in pool):
            text = _respelled(self.rng.choice(pool), self.rng)
            return text if text not in pool else f"{text}{number}"
        if (between := _between(pool, self.rng)) is not None:
            return between if len(pool) < 2 or isinstance(between, float) else max(pool) + number % 100_000
        if pool:
            return self.rng.choice(pool)
        if any(word in column.type for word in ("CHAR", "TEXT", "CLOB")):
            return f"{column.name} {number}"
        if any(word in column.type for word in ("DATE", "TIME")):
            return f"20{number % 24 + 1:02d}-{number % 12 + 1:02d}-{number % 28 + 1:02d}"
        return (
            number % 100 / 4
            if any(word in column.type for word in ("REAL", "FLOA", "DOUB", "DEC"))
            else number % 1000
        )


def _skewed(rng: random.Random, values: Sequence[Any]) -> Any:
    """One of them, the first more often, so that groups differ in size."""
    return values[int(len(values) * rng.random() ** 1.7)]


def _between(pool: Sequence[Any], rng: random.Random) -> int | float | None:
    """Another number in the pool's range; None where the pool is not of numbers."""
    numbers = [value for value in pool if value is not None]
    if not numbers or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        return None
    low, high = min(numbers), max(numbers)
    over = (high - low) / 10 if low > 0 else 0
    if all(isinstance(value, int) for value in numbers):
        return rng.randint(int(low), int(high + over))
    return round(rng.uniform(low, high + over), 2)


def _are_kinds(pool: Sequence[Any]) -> bool:
    """Whether these numbers may well be all there are."""
    numbers = [value for value in pool if value is not None]
    return all(isinstance(value, int) for value in numbers) and max(numbers) - min(numbers) < 20


def _respelled(text: str, rng: random.Random) -> str:
    """Another text of the same form: other digits, other small letters within words."""
    out = []
    for before, char in zip(" " + text, text, strict=False):
        if char.isdigit():
            char = str(rng.randrange(10))
        elif char.islower() and before.isalpha():
            char = rng.choice("aeiou" if char in "aeiou" else "bdfglmnprst")
        out.append(char)
    return "".join(out)
