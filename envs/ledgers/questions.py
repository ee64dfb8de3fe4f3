"""Questions about a ledger, and things to change in it: each says what it is about, and not where that stands."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agentgym.database import Dialect
from agentgym.envs.ledgers.ledger import Ledger, LedgerTable

Level = Literal["lookup", "count", "aggregate", "top", "join", "copy", "delete"]
LOOK: dict[Dialect, str] = {
    "sqlite": "select t.name from sqlite_master t join pragma_table_info(t.name) c where c.name='{}'",
    "duckdb": "select table_name from information_schema.columns where column_name='{}'",
}
"""Shows which table has a column."""


@dataclass(frozen=True)
class Question:
    """columns: those that it names, and not their tables. statements: what solves it, in order; `{}` stands for
    what the one before found. answer: the value asked for; None where something is to be changed."""

    text: str
    columns: tuple[str, ...]
    statements: tuple[str, ...]
    answer: str | None = None

    @property
    def solution(self) -> str:
        """All in one statement."""
        *found, last = self.statements
        return last.replace("'{}'", "{}").format(*(f"({sql})" for sql in found))


def ask(ledger: Ledger, rng: random.Random, level: Level) -> Question:
    """A question of the level."""
    return FORMS[level](ledger, rng)


def _lookup(ledger: Ledger, rng: random.Random) -> Question:
    table, at = _column(ledger, rng)
    name, column = rng.choice(list(table.rows)), table.numbers[at]
    sql = f"select {column} from {table.name} where name='{name}'"
    return Question(f"What is the {column} of '{name}'?", (column,), (sql,), str(table.rows[name][at]))


def _count(ledger: Ledger, rng: random.Random) -> Question:
    table, at = _column(ledger, rng)
    values = sorted(table.column(at))
    number = rng.randrange(1, len(values))
    least, column = values[-number - 1], table.numbers[at]
    sql = f"select count(*) from {table.name} where {column}>{least}"
    return Question(f"How many have a {column} over {least}?", (column,), (sql,), str(number))


def _aggregate(ledger: Ledger, rng: random.Random) -> Question:
    table, at = _column(ledger, rng)
    column = table.numbers[at]
    values = table.column(at)
    word, function, answer = rng.choice(
        [("highest", "max", max(values)), ("lowest", "min", min(values)), ("total", "sum", sum(values))]
    )
    sql = f"select {function}({column}) from {table.name}"
    return Question(f"What is the {word} {column}?", (column,), (sql,), str(answer))


def _top(ledger: Ledger, rng: random.Random) -> Question:
    table, at = _column(ledger, rng)
    word, sql, name = _extreme(table, at, rng)
    column = table.numbers[at]
    return Question(f"Who has the {word} {column}?", (column,), (sql,), name)


def _join(ledger: Ledger, rng: random.Random) -> Question:
    table = rng.choice([table for table in ledger.made if table.link])
    link = table.link
    assert link, "chosen so"
    [parent] = [other for other in ledger.made if other.name == link.table]
    at, name = rng.randrange(len(parent.numbers)), rng.choice(list(table.rows))
    column = parent.numbers[at]
    sql = (
        f"select {parent.name}.{column} from {table.name} join {parent.name} "
        f"on {table.name}.{link.column}={parent.name}.name where {table.name}.name='{name}'"
    )
    answer = str(parent.rows[link.ends[name]][at])
    text = f"What is the {column} of the {link.column} of '{name}'?"
    return Question(text, (column, link.column), (sql,), answer)


def _copy(ledger: Ledger, rng: random.Random) -> Question:
    table, at = _column(ledger, rng)
    column = table.numbers[at]
    giver, taker = rng.sample(list(table.rows), 2)
    read = f"select {column} from {table.name} where name='{giver}'"
    write = f"update {table.name} set {column}={{}} where name='{taker}'"
    return Question(f"Give '{taker}' the {column} of '{giver}'.", (column,), (read, write))


def _delete(ledger: Ledger, rng: random.Random) -> Question:
    table = ledger.made[-1]  # nothing refers to it
    at = rng.randrange(len(table.numbers))
    column = table.numbers[at]
    word, sql, _ = _extreme(table, at, rng)
    write = f"delete from {table.name} where name='{{}}'"
    return Question(f"Delete who has the {word} {column}.", (column,), (sql, write))


FORMS: dict[Level, Callable[[Ledger, random.Random], Question]] = {
    "lookup": _lookup,
    "count": _count,
    "aggregate": _aggregate,
    "top": _top,
    "join": _join,
    "copy": _copy,
    "delete": _delete,
}


def _column(ledger: Ledger, rng: random.Random) -> tuple[LedgerTable, int]:
    table = rng.choice(ledger.made)
    return table, rng.randrange(len(table.numbers))


def _extreme(table: LedgerTable, at: int, rng: random.Random) -> tuple[str, str, str]:
    """A word for it, the query that finds it, and whose it is."""
    word, order, pick = rng.choice([("highest", " desc", max), ("lowest", "", min)])
    sql = f"select name from {table.name} order by {table.numbers[at]}{order} limit 1"
    return word, sql, pick(table.rows, key=lambda name: table.rows[name][at])
