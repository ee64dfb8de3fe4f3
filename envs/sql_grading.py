"""When a query's rows, a database's state or a value are right: by what they say, and not by how it was found."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agentgym.database import Dialect, Row, Table, Value
from agentgym.errors import TaskError

if TYPE_CHECKING:
    from sqlglot.expressions import Expr

NOISE = 1e-9
"""Relative difference up to which a float is the same number as another: sums in another order differ by less."""
NEAR_ZERO = 1e-12
MAX_DIGITS = 300
"""Of a whole number; longer ones are compared as decimals."""
Columns = tuple[tuple[Any, ...], ...]


def right_rows(pairs: Iterable[tuple[Table, Table]], ordered: bool) -> bool:
    """Whether a query found what the gold query did, (found, gold) on each database. Where the gold found nothing
    at all, nothing is right: an empty result says too little."""
    pairs = list(pairs)
    return any(gold.rows for _, gold in pairs) and all(same_rows(found, gold, ordered) for found, gold in pairs)


def same_rows(found: Table, gold: Table, ordered: bool) -> bool:
    """Whether two results say the same: the same rows, equally often, in the same order if `ordered`; the columns
    in any order, whatever they are called (as Spider's test suite has it). A truncated one equals none."""
    if found.truncated or gold.truncated or _shape(found) != _shape(gold):
        return False
    left, right = _comparable(found.rows, gold.rows)
    if ordered:
        return Counter(zip(*left, strict=True)) == Counter(zip(*right, strict=True))
    return _same_up_to_columns(tuple(zip(*left, strict=True)), tuple(zip(*right, strict=True)))


def same_state(found: Mapping[str, Table], gold: Mapping[str, Table]) -> bool:
    """Whether two databases hold the same tables, with the same columns and rows, rows in any order."""
    return found.keys() == gold.keys() and all(_same_table(found[name], gold[name]) for name in gold)


def _same_table(found: Table, gold: Table) -> bool:
    if found.truncated or gold.truncated or found.columns != gold.columns:
        return False
    left, right = _comparable(found.rows, gold.rows)
    return Counter(left) == Counter(right)


def right_value(answer: str, gold: str) -> bool:
    """Whether an answer in words is the gold's: the same number, or the same text but for case, outer quotes and
    spaces."""
    said, true = _plain(answer), _plain(gold)
    if said == true:
        return True
    numbers = _number(said), _number(true)
    return None not in numbers and _is_noise(*numbers)


@lru_cache(maxsize=4096)
def is_ordered(sql: str, dialect: Dialect) -> bool:
    """Whether the query itself orders its rows; what a subquery orders does not count. Raises TaskError for a
    query that cannot be parsed."""
    query = parse(sql, dialect)
    while query.key == "subquery" and not query.args.get("order"):
        query = query.this
    return bool(query.args.get("order"))


def parse(sql: str, dialect: Dialect) -> Expr:
    """The one statement of `sql`. Raises TaskError."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        statements = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except SqlglotError as error:
        raise TaskError(f"the gold query is no SQL of {dialect}: {error}: {sql}") from error
    if len(statements) != 1:
        raise TaskError(f"a gold query is one statement, not {len(statements)}: {sql}")
    return statements[0]


def _shape(table: Table) -> tuple[int, int]:
    return len(table.columns), len(table.rows)


def _comparable(*tables: Sequence[Row]) -> list[list[tuple[Any, ...]]]:
    """The rows with values that are equal where they mean the same."""
    numbers = _levels([value for rows in tables for row in rows for value in row if _is_number(value)])
    return [[tuple(_comparable_value(value, numbers) for value in row) for row in rows] for rows in tables]


def _comparable_value(value: Value, numbers: Mapping[Any, int]) -> Any:
    if _is_number(value):
        return "number", numbers[value]
    if isinstance(value, float | Decimal):
        return "number", "nan"
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return datetime.datetime.combine(value, datetime.time())
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float | Decimal) and value == value


def _levels(numbers: Iterable[Any]) -> dict[Any, int]:
    """The same level for numbers that only noise tells apart."""
    levels: dict[Any, int] = {}
    last, level = None, 0
    for number in sorted(set(numbers)):
        level += last is None or not _is_noise(last, number)
        levels[number], last = level, number
    return levels


def _is_noise(a: Any, b: Any) -> bool:
    """Whole numbers and decimals are exact: only what is computed in floats is noisy."""
    inexact = isinstance(a, float) or isinstance(b, float)
    return a == b or (inexact and math.isclose(a, b, rel_tol=NOISE, abs_tol=NEAR_ZERO))


def _same_up_to_columns(found: Columns, gold: Columns) -> bool:
    """Whether the columns can be put in an order in which both have the same rows. The search goes on from a
    column only where the rows agree so far."""
    if not gold:
        return not found

    def extend(chosen: tuple[int, ...]) -> bool:
        if Counter(_rows(found, chosen)) != Counter(_rows(gold, range(len(chosen)))):
            return False
        if len(chosen) == len(gold):
            return True
        others = {found[i]: i for i in reversed(range(len(found))) if i not in chosen}
        return any(extend((*chosen, i)) for i in sorted(others.values()))

    return extend(())


def _rows(columns: Columns, chosen: Sequence[int]) -> Iterable[tuple[Any, ...]]:
    return zip(*(columns[i] for i in chosen), strict=True)


def _plain(text: str) -> str:
    text = " ".join(text.split()).casefold()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    return text


def _number(text: str) -> int | float | None:
    """Whole numbers stay exact."""
    plain = text.replace(",", "")
    try:
        if plain.lstrip("+-").isdecimal() and len(plain) < MAX_DIGITS:
            return int(plain)
        value = float(plain) if text[-1:].isdigit() else math.inf
    except ValueError:
        return None
    return value if math.isfinite(value) else None
