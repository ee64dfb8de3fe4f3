"""Real text-to-SQL sets: every gold query is right, near misses score as they should, and verdicts are those of
the sets' own evaluation but for differences that are meant."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from agentgym.config import build
from agentgym.database import Table
from agentgym.envs.sql_grading import is_ordered, right_rows
from agentgym.envs.tasks.source import task_source
from agentgym.services import Services
from agentgym.types import Task

from .spider_match import suite_match
from .sql_near_misses import KINDS, Case, Rows

SETS = {"spider_dev": 487, "spider_dk": 215, "geoquery": 393, "restaurants": 83, "defog_sql_eval": 152}
"""How many questions each has."""
EMPTY_ANYWHERE = {"spider-dev-908", "spider-dev-909", "spider-dk-12", "spider-dk-13"}
"""No rows can be found for these: two rows would have to share a primary key, a text to be below a number."""
STEP = 5
"""Every how manieth question gets all near misses where time is short."""


@cache
def tasks(folder: Path, name: str) -> list[Task]:
    source = task_source({"name": "text_to_sql", "path": str(folder / "text_to_sql" / f"{name}.jsonl")})
    return source.draw(None, random.Random(0), "all")


@cache
def opened(dialect: str, file: str = "", script: str = "") -> sqlite3.Connection:
    """A database to be read, of a task's info."""
    assert dialect == "sqlite"
    connection = sqlite3.connect(f"file:{file}?mode=ro" if file else ":memory:", uri=True)
    connection.executescript(script)
    connection.set_progress_handler(lambda: True, 5_000_000)  # a near miss may be a product of all tables
    return connection


def rows_of(task: Task, sql: str) -> list[Rows] | None:
    """On each of the task's databases; None where the query fails."""
    try:
        return [opened(**task.info[key]).execute(sql).fetchall() for key in ("database", "second")]
    except sqlite3.Error:
        return None


def case_of(task: Task) -> Case:
    gold = rows_of(task, task.answer)
    assert gold is not None, task.answer
    return Case(task.answer, gold, is_ordered(task.answer, "sqlite"), lambda sql: rows_of(task, sql))


def table(rows: Rows, like: Rows) -> Table:
    """Rows as a result; where there are none, the columns are the other result's."""
    width = len((rows or like or [()])[0])
    return Table(("",) * width, tuple(rows))


def verdict(case: Case, found: list[Rows]) -> bool:
    pairs = [(table(a, b), table(b, a)) for a, b in zip(found, case.gold, strict=True)]
    return right_rows(pairs, case.ordered)


@cache
def near_misses(folder: Path, step: int) -> list[tuple[str, Task, Case, list[Rows], bool]]:
    """Kind, task, case, what was found, and whether that is right."""
    every = [task for name in SETS for task in tasks(folder, name)]
    cases = [(task, case_of(task)) for task in every[::step]]
    misses = [(kind.__name__, task, case, kind(case)) for task, case in cases for kind in KINDS]
    return [(kind, task, case, *miss) for kind, task, case, miss in misses if miss]


@pytest.mark.parametrize("name", SETS)
def test_every_gold_query_is_right(data: Path, name: str) -> None:
    every = tasks(data, name)
    assert len(every) == SETS[name]
    for task in every:
        for gold in [task.info["gold"]] if isinstance(task.info["gold"], str) else task.info["gold"]:
            found = rows_of(task, gold)
            assert found is not None, gold
            pairs = [(table(rows, rows), table(rows, rows)) for rows in found]
            assert right_rows(pairs, is_ordered(gold, "sqlite")) is (task.id not in EMPTY_ANYWHERE), (
                task.id,
                gold,
            )


@pytest.mark.parametrize("name", SETS)
def test_tasks_say_where_the_second_database_decides_nothing(data: Path, name: str) -> None:
    for task in tasks(data, name):
        first, second = rows_of(task, task.answer) or []
        assert bool(task.info.get("gold_empty")) is (not second)
        assert task.id not in EMPTY_ANYWHERE or (not first and not second)
        if not task.info.get("gold_empty"):
            assert bool(task.info.get("gold_same")) is (Counter(first) == Counter(second)), task.answer
    few = [task.id for task in tasks(data, name) if "gold_empty" in task.info or "gold_same" in task.info]
    assert len(few) <= 0.02 * SETS[name]


@pytest.mark.parametrize("step", [STEP, pytest.param(1, marks=pytest.mark.slow)])
def test_near_misses_score_as_they_should(data: Path, step: int) -> None:
    seen: Counter[str] = Counter()
    for kind, task, case, found, right in near_misses(data, step):
        seen[kind] += 1
        assert verdict(case, found) is right, (kind, task.id, task.answer)
    assert len(seen) >= 20
    assert all(seen[kind.__name__] for kind in KINDS), seen


def meant(case: Case, found: list[Rows], ours: bool) -> str:
    """Why the verdict is another one than that of the sets' evaluation; empty where it should not be."""
    if not ours and not any(case.gold) and not any(found):
        return "an empty result is right nowhere by itself"
    if ours and not case.ordered and "order by" in case.sql.lower():
        return "what a subquery orders is not the order of the result"
    return ""


@pytest.mark.parametrize("step", [STEP, pytest.param(1, marks=pytest.mark.slow)])
def test_verdicts_are_those_of_the_test_suite(data: Path, step: int) -> None:
    """All but the few that differ for a reason, and noise of floats, which is put in on purpose and is no noise to
    the test suite."""
    reasons: Counter[str] = Counter()
    pairs = 0
    for kind, task, case, found, _ in near_misses(data, step):
        ours, theirs = verdict(case, found), suite_match(zip(case.gold, found, strict=True), case.sql)
        if kind == "noise":
            assert (ours, theirs) == (True, False)
            continue
        pairs += 1
        if ours is not theirs:
            reason = meant(case, found, ours)
            assert reason, (kind, task.id, task.answer)
            reasons[reason] += 1
    assert reasons.total() <= 0.005 * pairs, (pairs, reasons)


async def test_played_for_real(data: Path) -> None:
    """In the environment, on databases that are forked: the gold query is paid, its rows written down are not."""
    config = build("env", {"name": "sql", "prompt": "plain"})
    async with Services() as services:
        env = config.make(services)
        for name in ("spider_dk", "restaurants", "geoquery"):
            for task in tasks(data, name)[7::60]:
                rows, _ = rows_of(task, task.answer) or ([], [])
                written = " union all ".join(f"select {', '.join(map(literal, row))}" for row in rows[:50])
                for answer, right in ((task.answer, True), (written or "select 1 where 0", False)):
                    await env.reset(seed=0, options={"task": task})
                    result = await env.step(f"<answer>\n{answer}\n</answer>")
                    assert result.terminated
                    assert result.info["success"] is right, (task.id, answer)
        await env.close()


def literal(value: object) -> str:
    return (
        "null" if value is None else "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
    )
