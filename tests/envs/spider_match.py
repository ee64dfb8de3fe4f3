"""Execution match as Spider's test suite defines it (Zhong et al., arXiv 2010.02840), from its description.

A query is right if on every database its rows are the gold's: as a list where the gold says "order by" anywhere,
else as a multiset; columns may be permuted. Values are compared exactly. Two empty results are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Rows = Sequence[tuple[Any, ...]]


def suite_match(pairs: Iterable[tuple[Rows, Rows]], gold_sql: str) -> bool:
    """(gold's rows, found rows) on each database."""
    return all(rows_match(gold, found, "order by" in gold_sql.lower()) for gold, found in pairs)


def rows_match(gold: Rows, found: Rows, order_matters: bool) -> bool:
    if not gold and not found:
        return True
    if len(gold) != len(found) or len(gold[0]) != len(found[0]):
        return False
    for order in column_orders(gold, found):
        put = [tuple(row[i] for i in order) for row in found]
        if (list(gold) == put) if order_matters else (Counter(gold) == Counter(put)):
            return True
    return False


def column_orders(gold: Rows, found: Rows) -> Iterator[tuple[int, ...]]:
    """The permutations that give each of the gold's columns one with the same set of values."""
    wanted, given = [set(column) for column in zip(*gold, strict=True)], [set(c) for c in zip(*found, strict=True)]

    def extend(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(order) == len(wanted):
            yield order
        else:
            for i, values in enumerate(given):
                if i not in order and values == wanted[len(order)]:
                    yield from extend((*order, i))

    return extend(())
