"""Questions about invented databases: both databases say what the task says, and nothing can be guessed."""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from itertools import pairwise
from typing import Any, get_args

import duckdb
import pytest

from agentgym.envs.ledgers.ledger import NAMES, Ledger
from agentgym.envs.ledgers.questions import Level
from agentgym.envs.tasks.ledgers import Ledgers
from agentgym.errors import ConfigError
from agentgym.types import Task

LEVELS: tuple[Level, ...] = get_args(Level)


def draw(n: int = 140, **fields: Any) -> list[Task]:
    return Ledgers(**fields).draw(n, random.Random(3), "all")


def opened(task: Task, dialect: str, key: str = "database") -> Any:
    """A database of the task's, in memory."""
    connection: Any = sqlite3.connect(":memory:") if dialect == "sqlite" else duckdb.connect(":memory:")
    for statement in task.info[key]["script"].split(";\n"):
        connection.execute(statement)
    return connection


def play(connection: Any, statements: list[str]) -> Any:
    """What the last statement but one that writes found, each filled in from the one before."""
    found: Any = None
    for statement in statements:
        rows = connection.execute(statement.format(found)).fetchall()
        found = rows[0][0] if rows else found
    return found


def tables(connection: Any) -> dict[str, Counter[Any]]:
    names = [
        name for (name,) in connection.execute("select name from sqlite_master where type='table'").fetchall()
    ]
    return {name: Counter(connection.execute(f"select * from {name}").fetchall()) for name in names}


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
def test_every_level_is_what_its_statements_find(dialect: str) -> None:
    for task in (
        task
        for level in LEVELS
        for task in draw(3 if dialect == "duckdb" else 20, levels=[level], dialect=dialect)
    ):
        step_by_step, at_once = opened(task, dialect), opened(task, dialect)
        looks = [step for step in task.info["steps"] if "column" in step or "pragma" in step]
        statements = task.info["steps"][len(looks) :]
        [*shown] = (table for look in looks for (table,) in step_by_step.execute(look).fetchall())
        named = set(re.findall(r"\b(?:from|join|update) (\w+)", " ".join(statements)))
        assert set(shown) == named, "each table is found by a column that the question names"
        before = tables(at_once)
        found = play(step_by_step, statements)
        if task.info["answers_with"] == "value":
            assert str(found) == task.answer
            assert at_once.execute(task.info["gold"]).fetchall() == [(found,)]
        else:
            assert [task.answer] == task.info["gold"]
            for statement in task.info["gold"]:
                at_once.execute(statement)
            assert tables(step_by_step) == tables(at_once)
            changed = [name for name, rows in tables(at_once).items() if rows != before[name]]
            assert len(changed) <= 1
            assert changed or task.info["level"] == "copy"  # of a number that was there already


def test_answers_cannot_be_guessed() -> None:
    """No answer to a level is right for more than a tenth, not even the most frequent ones."""
    tasks = draw(2100, questions=7)
    for level in LEVELS:
        asked = [task for task in tasks if task.info["level"] == level and task.info["answers_with"] == "value"]
        answers = Counter(task.answer for task in asked)
        if answers:
            assert max(answers.values()) / answers.total() <= 0.1, level
            assert all(
                task.answer not in str(task.prompt) for task in tasks if task.info["level"] in ("top", "join")
            )


def test_a_query_is_judged_by_other_rows_under_the_same_names() -> None:
    differ = []
    for task in draw(60, answers_with="query", levels=["lookup", "aggregate", "top", "join"]):
        first, second = opened(task, "sqlite"), opened(task, "sqlite", "second")
        assert task.answer == task.info["gold"]
        names = "select name from sqlite_master order by 1"
        assert first.execute(names).fetchall() == second.execute(names).fetchall()
        found = second.execute(task.answer).fetchall()
        assert found
        differ.append(found != first.execute(task.answer).fetchall())
    assert sum(differ) > 50


def test_schemas_are_held_out_whole() -> None:
    source = Ledgers(questions=4)
    sides = {
        split: {task.info["database"]["script"] for task in source.draw(400, random.Random(0), split)}
        for split in ("train", "eval")
    }
    assert not sides["train"] & sides["eval"]
    assert len(sides["train"]) == 100


def test_a_seed_gives_its_tasks_again() -> None:
    assert draw(20) == draw(20)
    assert draw(20) != Ledgers().draw(20, random.Random(4), "all")


def test_any_name_may_be_a_tables_or_a_columns() -> None:
    for connection in (sqlite3.connect(":memory:"), duckdb.connect(":memory:")):
        connection.execute(f"create table T({', '.join(f'{name} int' for name in NAMES)})")
        found = connection.execute(f"select {', '.join(NAMES)} from T")
        assert [name for name, *_ in found.description] == NAMES
        connection.execute(f"select {', '.join(f'T.{name}' for name in NAMES)} from T order by {NAMES[0]} desc")
    for connection in (sqlite3.connect(":memory:"), duckdb.connect(":memory:")):
        for name in NAMES:
            connection.execute(f"create table {name}(name text)")
            connection.execute(f"select {name}.name from {name} join {name} as o on {name}.name=o.name")


@pytest.mark.parametrize(
    "fields", [{"tables": 1}, {"rows": 5}, {"levels": []}, {"questions": 0}, {"numbers": 0}], ids=str
)
def test_settings_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Ledgers(**fields)


def test_there_is_no_end_to_them() -> None:
    with pytest.raises(ConfigError, match="without end"):
        Ledgers().draw(None, random.Random(0))


def test_each_table_refers_to_the_one_before() -> None:
    made = Ledger(1, tables=4).made
    assert [table.link.table if table.link else None for table in made] == [None, *(t.name for t in made[:-1])]
    assert all(set(b.link.ends.values()) <= set(a.rows) for a, b in pairwise(made) if b.link)
