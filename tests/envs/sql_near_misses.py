"""Answers that are nearly a gold query's, and what each should score.

A kind makes of a case what another query would have found on each database, and says whether that is right: by
what the kind is, or by comparing the rows as they are. None where a kind does not apply to a case.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlglot
from sqlglot import exp

Rows = list[tuple[Any, ...]]
Run = Callable[[str], list[Rows] | None]
Miss = tuple[list[Rows], bool] | None
"""What was found on each database, and whether it is right."""


@dataclass(frozen=True)
class Case:
    """sql: the gold query. gold: its rows on each database. ordered: whether it orders them itself. run: another
    query's rows, None where it fails."""

    sql: str
    gold: list[Rows]
    ordered: bool
    run: Run

    @property
    def width(self) -> int:
        return max(len(rows[0]) if rows else 0 for rows in self.gold)

    @cached_property
    def tree(self) -> exp.Expr:
        return sqlglot.parse_one(self.sql, read="sqlite")

    def same(self, found: Sequence[Rows]) -> bool:
        """Without another order of columns, and values as they are."""
        pairs = zip(found, self.gold, strict=True)
        return any(self.gold) and all(a == b if self.ordered else Counter(a) == Counter(b) for a, b in pairs)

    def other(self, change: Callable[[Rows], Rows], right: bool) -> Miss:
        """Rows changed on each database; None where that changes nothing."""
        found = [change(rows) for rows in self.gold]
        return (found, right) if found != self.gold else None

    def query(self, tree: exp.Expr | None) -> Miss:
        """Another query, which is right as far as it finds the same."""
        found = None if tree is None else self.run(tree.sql("sqlite"))
        return None if found is None else (found, self.same(found))


def itself(case: Case) -> Miss:
    return case.gold, any(case.gold)


def respelled(case: Case) -> Miss:
    return case.query(case.tree)


def rows_shuffled(case: Case) -> Miss:
    return None if case.ordered else case.other(lambda rows: random.Random(0).sample(rows, len(rows)), True)


def rows_reversed(case: Case) -> Miss:
    return case.other(lambda rows: rows[::-1], False) if case.ordered and _in_one_order(case) else None


def columns_turned(case: Case) -> Miss:
    return case.other(lambda rows: [row[::-1] for row in rows], any(case.gold)) if case.width > 1 else None


def column_added(case: Case) -> Miss:
    return case.other(lambda rows: [(*row, row[0]) for row in rows], False)


def column_dropped(case: Case) -> Miss:
    return case.other(lambda rows: [row[:-1] for row in rows], False) if case.width > 1 else None


def column_mixed_up(case: Case) -> Miss:
    """The last column belongs to the row before: every column is right, and the rows are not."""
    if case.width < 2:
        return None
    found = [[(*a[:-1], b[-1]) for a, b in zip(rows, rows[-1:] + rows, strict=False)] for rows in case.gold]
    return None if case.same(found) or _turns_into(found, case.gold) else (found, False)


def duplicates_dropped(case: Case) -> Miss:
    return case.other(lambda rows: list(dict.fromkeys(rows)), False)


def row_repeated(case: Case) -> Miss:
    return case.other(lambda rows: rows + rows[-1:], False)


def row_missing(case: Case) -> Miss:
    return case.other(lambda rows: rows[:-1], False)


def nothing_found(case: Case) -> Miss:
    return [[] for _ in case.gold], False


def literals(case: Case) -> Miss:
    """The first database's rows, written down."""
    found = [case.gold[0] for _ in case.gold]
    return found, case.same(found)


def noise(case: Case) -> Miss:
    return case.other(_each(float, lambda value: value * (1 + 3e-14) + 1e-15), True)


def visibly_off(case: Case) -> Miss:
    return case.other(_each(float, lambda value: value * 1.001 + 0.001), False)


def whole_number_off_by_one(case: Case) -> Miss:
    return case.other(_each(int, lambda value: value + 1), False)


def whole_number_as_float(case: Case) -> Miss:
    return ([_each(int, float)(rows) for rows in case.gold], True) if _has(case, int) else None


def number_as_text(case: Case) -> Miss:
    return case.other(_each(int | float, str), False)


def null_as_nothing(case: Case) -> Miss:
    return case.other(_each(type(None), lambda _: ""), False)


def null_rows_left_out(case: Case) -> Miss:
    return case.other(lambda rows: [row for row in rows if None not in row], False)


def text_in_capitals(case: Case) -> Miss:
    return case.other(_each(str, str.upper), False)


def comparison_off_by_one(case: Case) -> Miss:
    """`>` for `>=`, and so on."""
    swaps = {exp.GT: exp.GTE, exp.GTE: exp.GT, exp.LT: exp.LTE, exp.LTE: exp.LT}
    return case.query(_replaced(case.tree, tuple(swaps), lambda node: swaps[type(node)](**node.args)))


def limit_off_by_one(case: Case) -> Miss:
    return case.query(
        _replaced(case.tree, exp.Limit, lambda node: exp.Limit(expression=_plus_one(node.expression)))
    )


def condition_dropped(case: Case) -> Miss:
    return case.query(_replaced(case.tree, exp.And, lambda node: node.this))


def distinct_dropped(case: Case) -> Miss:
    tree = case.tree.copy()
    selects = [select for select in tree.find_all(exp.Select) if select.args.get("distinct")]
    for select in selects:
        select.set("distinct", None)
    return case.query(tree if selects else None)


def order_turned(case: Case) -> Miss:
    def turn(node: exp.Expr) -> exp.Expr:
        return exp.Ordered(this=node.this, desc=not node.args.get("desc"))

    return case.query(_replaced(case.tree, exp.Ordered, turn))


KINDS: list[Callable[[Case], Miss]] = [
    itself,
    respelled,
    rows_shuffled,
    rows_reversed,
    columns_turned,
    column_added,
    column_dropped,
    column_mixed_up,
    duplicates_dropped,
    row_repeated,
    row_missing,
    nothing_found,
    literals,
    noise,
    visibly_off,
    whole_number_off_by_one,
    whole_number_as_float,
    number_as_text,
    null_as_nothing,
    null_rows_left_out,
    text_in_capitals,
    comparison_off_by_one,
    limit_off_by_one,
    condition_dropped,
    distinct_dropped,
    order_turned,
]


def _each(kind: Any, change: Callable[[Any], Any]) -> Callable[[Rows], Rows]:
    """Change all values of a type."""
    return lambda rows: [tuple(change(v) if isinstance(v, kind) else v for v in row) for row in rows]


def _has(case: Case, kind: type) -> bool:
    return any(isinstance(value, kind) for rows in case.gold for row in rows for value in row)


def _in_one_order(case: Case) -> bool:
    """Whether the rows turned round are other rows, in any order of the columns."""
    return any(Counter(zip(*rows[::-1], strict=True)) != Counter(zip(*rows, strict=True)) for rows in case.gold)


def _turns_into(found: list[Rows], gold: list[Rows]) -> bool:
    """Two columns that mix up into each other, as where they are alike."""
    turned = [[row[::-1] for row in rows] for rows in found]
    return all(Counter(a) == Counter(b) for a, b in zip(turned, gold, strict=True))


def _replaced(tree: exp.Expr, kind: Any, change: Callable[[Any], exp.Expr]) -> exp.Expr | None:
    """The first node of a kind changed; None where there is none."""
    copy = tree.copy()
    node = next(copy.find_all(kind), None)
    if node is None or node is copy:
        return None
    node.replace(change(node.copy()))
    return copy


def _plus_one(node: exp.Expr) -> exp.Expr:
    return exp.Literal.number(int(node.name) + 1)
