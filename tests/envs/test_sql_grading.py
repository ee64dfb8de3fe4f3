"""When rows, states and values are the same: by examples, and for any tables against the definition."""

from __future__ import annotations

import datetime
import random
from collections import Counter
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.database import Table
from agentgym.envs.sql_grading import is_ordered, right_rows, right_value, same_rows, same_state
from agentgym.errors import TaskError


def table(*rows: tuple[Any, ...], columns: int | None = None, truncated: bool = False) -> Table:
    width = columns if columns is not None else len(rows[0])
    return Table(tuple(f"c{i}" for i in range(width)), rows, truncated)


@pytest.mark.parametrize(
    ("found", "gold", "same"),
    [
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")], True),
        ([("a", 1), ("b", 2)], [(1, "a"), (2, "b")], True),  # columns in another order
        ([(1, "b"), (2, "a")], [(1, "a"), (2, "b")], False),  # the same columns, but other rows
        ([(1,), (1,)], [(1,)], False),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False),
        ([(1, 1)], [(1,)], False),
        ([("1",)], [(1,)], False),
        ([(None,)], [(0,)], False),
        ([(None,)], [("",)], False),
        ([(None, 1)], [(None, 1)], True),
        ([(b"a",)], [("a",)], False),
        ([(0.1 + 0.2,)], [(0.3,)], True),
        ([(0.3001,)], [(0.3,)], False),
        ([(2.0,)], [(2,)], True),
        ([(True,)], [(1,)], True),
        ([(Decimal("2.50"),)], [(2.5,)], True),
        ([(10**15 + 1,)], [(10**15,)], False),  # whole numbers are exact, however large
        ([(Decimal("1.0000000000001"),)], [(Decimal(1),)], False),
        ([(float("nan"),)], [(float("nan"),)], True),
        ([(float("nan"),)], [(None,)], False),
        ([(float("inf"),)], [(1e308,)], False),
        ([(datetime.date(2020, 1, 1),)], [(datetime.datetime(2020, 1, 1),)], True),
        ([(datetime.date(2020, 1, 1),)], [("2020-01-01",)], False),
        ([("A",)], [("a",)], False),
    ],
)
def test_examples(found: list[tuple[Any, ...]], gold: list[tuple[Any, ...]], same: bool) -> None:
    assert same_rows(table(*found), table(*gold), ordered=False) is same
    assert same_rows(table(*gold), table(*found), ordered=False) is same


def test_order_counts_where_the_gold_orders() -> None:
    gold, turned = table((1, "a"), (2, "b")), table(("b", 2), ("a", 1))
    assert same_rows(turned, gold, ordered=False)
    assert not same_rows(turned, gold, ordered=True)
    assert same_rows(table(("a", 1), ("b", 2)), gold, ordered=True)


def test_a_truncated_result_is_never_right() -> None:
    gold = table((1,))
    assert not same_rows(table((1,), truncated=True), gold, ordered=False)
    assert not same_rows(table(columns=1, truncated=True), table(columns=1), ordered=False)


def test_empty_results_count_by_what_other_databases_say() -> None:
    nothing, one, two = table(columns=1), table((1,)), table((2,))
    assert not right_rows([(nothing, nothing)], ordered=False)
    assert right_rows([(nothing, nothing), (one, one)], ordered=False)
    assert not right_rows([(nothing, nothing), (nothing, one)], ordered=False)
    assert not right_rows([(one, one), (one, two)], ordered=False)  # a literal
    assert not right_rows([(table(columns=2), nothing), (one, one)], ordered=False)
    assert not right_rows([], ordered=False)


VALUES = st.sampled_from([None, 0, 1, 1.5, "a", "b", ""])
TABLES = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[VALUES] * width), min_size=1, max_size=4))


@settings(max_examples=300, deadline=None)
@given(TABLES, st.data())
def test_it_is_the_definition(gold: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """There is an order of the columns, and of the rows where that is free, which makes them equal."""
    seed = data.draw(st.integers(0, 10**6))
    found = data.draw(st.just(_changed(gold, random.Random(seed))) | TABLES)
    orders = [[tuple(row[i] for i in order) for row in found] for order in permutations(range(len(found[0])))]
    assert same_rows(table(*found), table(*gold), ordered=True) is (gold in orders)
    bags = [Counter(rows) for rows in orders]
    assert same_rows(table(*found), table(*gold), ordered=False) is (Counter(gold) in bags)


def _changed(rows: list[tuple[Any, ...]], rng: random.Random) -> list[tuple[Any, ...]]:
    """Rows and columns in another order, and perhaps two values of a column exchanged."""
    cells = [list(row) for row in rng.sample(rows, len(rows))]
    if rng.random() < 0.5:
        a, b, column = rng.randrange(len(cells)), rng.randrange(len(cells)), rng.randrange(len(cells[0]))
        cells[a][column], cells[b][column] = cells[b][column], cells[a][column]
    order = rng.sample(range(len(cells[0])), len(cells[0]))
    return [tuple(row[i] for i in order) for row in cells]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.sampled_from("ab")), min_size=1, max_size=8), st.randoms())
def test_noise_of_floats_changes_nothing(rows: list[tuple[float, str]], rng: random.Random) -> None:
    noisy = [(x * (1 + rng.uniform(-1, 1) * 1e-12), word) for x, word in rows]
    rng.shuffle(noisy)
    assert same_rows(table(*noisy), table(*rows), ordered=False)
    off = [(noisy[0][0] + max(1e-6, abs(noisy[0][0]) * 1e-6), noisy[0][1]), *noisy[1:]]
    assert same_rows(table(*off), table(*rows), ordered=False) is False


def test_tables_of_many_alike_columns_are_compared_in_no_time() -> None:
    rng = random.Random(0)
    gold = [tuple(rng.randrange(2) for _ in range(12)) for _ in range(200)]
    order = rng.sample(range(12), 12)
    found = [tuple(row[i] for i in order) for row in gold]
    assert same_rows(table(*found), table(*gold), ordered=False)
    other = [(1 - found[0][0], *found[0][1:]), *found[1:]]
    assert not same_rows(table(*other), table(*gold), ordered=False)


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t", False),
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order by count(*) desc limit 3;", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)", False),
        ("SELECT a FROM t WHERE b = 'order by'", False),
        ("SELECT a FROM t -- ORDER BY a", False),
        ("SELECT a FROM t UNION SELECT b FROM t ORDER BY 1", True),
        ("WITH x AS (SELECT a FROM t ORDER BY a) SELECT * FROM x", False),
        ("WITH x AS (SELECT a FROM t) SELECT * FROM x ORDER BY a", True),
        ("SELECT a, row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM u ORDER BY a)", False),
    ],
)
def test_who_orders(sql: str, ordered: bool) -> None:
    assert is_ordered(sql, "sqlite") is ordered
    assert is_ordered(sql, "duckdb") is ordered


@pytest.mark.parametrize("sql", ["", "SELECT 1; SELECT 2", "SELECT FROM WHERE"])
def test_a_gold_query_that_is_none_is_the_tasks_error(sql: str) -> None:
    with pytest.raises(TaskError, match="gold query"):
        is_ordered(sql, "sqlite")


def test_states() -> None:
    gold = {"t": table((1, "a"), (2, "b")), "u": table(columns=1)}
    assert same_state({"u": table(columns=1), "t": table((2, "b"), (1, "a"))}, gold)
    assert not same_state({"t": gold["t"]}, gold)
    assert not same_state({**gold, "v": table(columns=1)}, gold)
    assert not same_state({**gold, "t": table((1, "a"))}, gold)
    assert not same_state({**gold, "t": table((1, "a"), (2, "b"), (2, "b"))}, gold)
    assert not same_state({**gold, "t": table(("a", 1), ("b", 2))}, gold)  # not its columns
    assert not same_state({**gold, "u": Table(("other",), ())}, gold)


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("12", "12", True),
        (" 12.0 ", "12", True),
        ("1,200", "1200", True),
        ("12", "120", False),
        ("1.5", "15", False),
        ("'Host 7'", "host  7", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.10", "10.0.0.1", False),
        ("0.30000000000000004", "0.3", True),
        ("nan", "inf", False),
        ("", "0", False),
        ("", "", True),
        ("S-1-5-21", "s-1-5-21", True),
        ("the host is a", "a", False),
        ("1e3", "1000", True),
    ],
)
def test_values(answer: str, gold: str, right: bool) -> None:
    assert right_value(answer, gold) is right


@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.datetimes()
)
def test_every_value_is_itself(value: Any) -> None:
    assert right_value(str(value), str(value))


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("1234567891", "1234567890", False),
        ("1,234,567,890", "1234567890", True),
        ("1234567890.0", "1234567890", True),
        ("0.30000000000000004", "0.3", True),
        ("1e999", "2e999", False),
        ("-7", "+7", False),
    ],
)
def test_whole_numbers_are_exact_and_decimals_but_for_the_noise_of_floats(
    answer: str, gold: str, right: bool
) -> None:
    assert right_value(answer, gold) == right
