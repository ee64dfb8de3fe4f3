"""Env `sql`: what answers are worth, by execution; what episodes show; what becomes of them when a world dies."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentgym.checks.env import check_env
from agentgym.config import build
from agentgym.database import Dialect
from agentgym.env import StepResult
from agentgym.envs.output_swap import OFF
from agentgym.envs.sql import Sql, SqlEnv
from agentgym.errors import EnvError, JudgeError, TaskError
from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Outcome, Task

from ..rollout.scripted import Script  # noqa: TID252
from .sql_tasks import DEAR, RESTOCK, SOLD, ShopTasks

DIALECTS: tuple[Dialect, ...] = ("sqlite", "duckdb")
TASKS = {"name": f"{Path(__file__).parent / 'sql_tasks.py'}:ShopTasks"}


def config(**fields: Any) -> Sql:
    made: Sql = build("env", {"name": "sql", "tasks": TASKS, **fields})
    return made


def task(name: str, dialect: Dialect = "sqlite", **info: Any) -> Task:
    [found] = [task for task in ShopTasks(dialect).tasks() if task.id == name]
    return replace(found, info={**found.info, **info})


class Episodes:
    """Opens and plays them; they share services."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.opened: list[SqlEnv] = []

    async def open(self, task: Task, **fields: Any) -> SqlEnv:
        env = config(**fields).make(self.services)
        self.opened.append(env)
        await env.reset(seed=0, options={"task": task})
        return env

    async def play(self, task: Task, *actions: str, **fields: Any) -> StepResult:
        """The last step's result."""
        env = await self.open(task, **fields)
        return [await env.step(action) for action in actions][-1]

    async def answer(self, task: Task, answer: str, *statements: str) -> float:
        """What an answer is worth after these statements."""
        result = await self.play(task, *map(sql, statements), f"<answer>{answer}</answer>")
        assert result.terminated
        return result.reward


@pytest.fixture
async def episodes() -> AsyncIterator[Episodes]:
    async with Services() as services:
        episodes = Episodes(services)
        yield episodes
        for env in episodes.opened:
            await env.close()


def sql(statement: str) -> str:
    return f"<sql>\n{statement}\n</sql>"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_query_is_worth_what_it_finds(episodes: Episodes, dialect: Dialect) -> None:
    question = task("query", dialect)
    worth = {
        DEAR: 1.0,
        f"```sql\n{DEAR};\n```": 1.0,
        "SELECT name FROM items WHERE price >= 45 ORDER BY stock DESC": 0.0,  # right here, wrong in the other rows
        "SELECT name FROM items WHERE price > 40 ORDER BY price DESC": 0.0,
        "SELECT name, price FROM items WHERE price > 40 ORDER BY price": 0.0,
        "SELECT 'chair' AS name UNION ALL SELECT 'desk'": 0.0,
        "SELECT name FROM items WHERE 1 = 0": 0.0,
        "SELECT name FROM itms": 0.0,
        "DROP TABLE items": 0.0,
        "chair, desk": 0.0,
    }
    assert {answer: await episodes.answer(question, answer) for answer in worth} == worth


async def test_one_of_several_golds_is_enough_and_order_counts_only_where_the_gold_orders(
    episodes: Episodes,
) -> None:
    golds = ["SELECT count(*) FROM items WHERE price > 40", "SELECT name FROM items WHERE price > 40"]
    question = task("query", gold=golds)
    for answer in (*golds, f"{golds[1]} ORDER BY price DESC"):
        assert await episodes.answer(question, answer) == 1.0
    ordered = task("query", gold=golds[1], ordered=True)
    assert await episodes.answer(ordered, f"{golds[1]} ORDER BY price") == 0.0


async def test_an_answer_that_cannot_be_run_is_noted(episodes: Episodes) -> None:
    result = await episodes.play(task("query"), "<answer>SELECT name FROM itms</answer>")
    assert "no such table: itms" in result.info["grader_note"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_value_is_worth_what_it_says(episodes: Episodes, dialect: Dialect) -> None:
    answers = ("7", "7.0", " 7 ", "8", "unknown")
    worth = [await episodes.answer(task("value", dialect), answer, SOLD) for answer in answers]
    assert worth == [1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_state_is_worth_what_is_left_behind(episodes: Episodes, dialect: Dialect) -> None:
    question = task("state", dialect)
    rug = "INSERT INTO items VALUES (5, 'rug', 60.0, 2)"
    another_way = ["DELETE FROM sales WHERE item = 3", RESTOCK[0], rug]
    assert await episodes.answer(question, "done", *RESTOCK) == 1.0
    assert await episodes.answer(question, "done", *another_way) == 1.0
    assert await episodes.answer(question, "done", "BEGIN", *RESTOCK, "COMMIT") == 1.0
    assert await episodes.answer(question, "done", "BEGIN", *RESTOCK) == 0.0  # was never committed
    assert await episodes.answer(question, "done", *RESTOCK[:2]) == 0.0
    assert await episodes.answer(question, "done", *RESTOCK, "DELETE FROM items WHERE id = 4") == 0.0
    assert await episodes.answer(question, "done", *RESTOCK, "CREATE TABLE more AS SELECT 1 AS a") == 0.0
    assert await episodes.answer(question, "done") == 0.0


async def test_a_state_that_cannot_be_looked_at_is_wrong_and_no_failure(episodes: Episodes) -> None:
    numbers = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 1000001)"
    grow = sql(f"INSERT INTO sales {numbers} SELECT i, i FROM r")
    result = await episodes.play(task("state"), grow, "<answer>done</answer>")
    assert result.reward == 0.0
    assert "a table is too large" in result.info["grader_note"]


async def test_only_who_is_to_change_the_database_may(episodes: Episodes) -> None:
    result = await episodes.play(task("query"), sql("DELETE FROM items"))
    assert result.observation == (
        "\n<information>\nError: changing the database is not allowed here\n</information>\n"
    )
    assert not result.terminated


async def test_a_cut_result_and_an_error_are_marked(episodes: Episodes) -> None:
    env = await episodes.open(task("query"), max_rows=2)
    rows, error = [await env.step(sql(f"SELECT {name} FROM items")) for name in ("id", "nme")]
    assert "id\n1\n2\n... (more rows are left out)" in str(rows.observation)
    assert "no such column: nme\nLINE 1: SELECT nme FROM items\n               ^" in str(error.observation)


async def test_what_the_database_says_can_be_turned_off_or_swapped(episodes: Episodes) -> None:
    on, off, swapped = [
        str((await episodes.play(task("value"), sql(SOLD), tool_output=how)).observation)
        for how in ("on", "off", "swapped")
    ]
    assert "sum(amount)" in on
    assert OFF in off
    assert "sum(amount)" not in off + swapped


@pytest.mark.parametrize("tool_output", ["on", "swapped"])
async def test_demonstrations_live_by_what_the_database_says(episodes: Episodes, tool_output: str) -> None:
    env = await episodes.open(task("value"), tool_output=tool_output)
    script = env.demonstrate(random.Random(0))
    result = await env.step(next(script))
    while not result.terminated:
        result = await env.step(script.send(result.observation))
    assert result.reward == (1.0 if tool_output == "on" else 0.0)
    assert result.info["tool_calls"] == 2


async def test_instructions_say_how_to_answer(episodes: Episodes) -> None:
    for name, words in (("query", "one SQL query"), ("value", "the value"), ("state", "the word done")):
        env = await episodes.open(task(name), prompt="instruct")
        assert words in env.instructions()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_check_of_an_environment_passes(dialect: Dialect) -> None:
    results = await check_env(config(tasks={**TASKS, "dialect": dialect}), 120.0)
    assert [(result.name, result.detail) for result in results if not result.ok] == []


@pytest.mark.parametrize(
    ("info", "complaint"),
    [
        ({"gold": "SELECT nme FROM items"}, "a gold statement fails: no such column: nme"),
        ({"answers_with": "words"}, "info.answers_with is 'words'"),
        ({"database": {"dialect": "sqlite", "file": "/no/such"}}, "/no/such cannot be loaded"),
        ({"access": "everything"}, "info.access is 'everything'"),
    ],
)
async def test_a_task_that_is_wrong_is_told(episodes: Episodes, info: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint):
        await episodes.play(task("query", **info), sql("SELECT 1"), f"<answer>{DEAR}</answer>")


@pytest.mark.parametrize(
    ("name", "info", "answer", "complaint"),
    [
        ("query", {"gold": "SELECT nme FROM items"}, "SELECT nme FROM items", "a gold statement fails"),
        (
            "value",
            {"database": {"dialect": "sqlite", "file": "/no/such"}},
            "7",
            "task 'value': the sqlite database",
        ),
        ("value", {"database": {"dialect": "duckdb", "file": __file__}}, "7", "cannot be loaded"),
    ],
)
async def test_nobody_is_wrong_where_the_task_is(
    episodes: Episodes, name: str, info: dict[str, Any], answer: str, complaint: str
) -> None:
    with pytest.raises(TaskError, match=complaint):
        await episodes.play(task(name, **info), f"<answer>{answer}</answer>")


async def test_a_gold_query_that_takes_too_long_judges_nobody(episodes: Episodes) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(JudgeError, match=r"a gold statement takes too much: no result within .*env\.seconds"):
        await episodes.play(task("query", gold=endless), "<answer>SELECT 1</answer>", seconds=0.5)


async def test_a_world_that_is_killed_fails_its_episode_and_no_other(episodes: Episodes) -> None:
    killed, sibling = [await episodes.open(task("state")) for _ in range(2)]
    for env in (killed, sibling):
        await env.step(sql(RESTOCK[0]))
    twin = await killed.fork()
    episodes.opened.append(twin)  # type: ignore[arg-type]
    end(killed)
    with pytest.raises(EnvError, match="its process died"):
        await killed.step(sql(RESTOCK[1]))
    for env in (sibling, twin):
        for statement in RESTOCK[1:]:
            await env.step(sql(statement))
        assert (await env.step("<answer>done</answer>")).reward == 1.0


def end(env: SqlEnv) -> None:
    """Kill the process of its database."""
    world: Any = env.sql._world
    signal.pidfd_send_signal(world._pidfd, signal.SIGKILL)


async def test_in_a_run_a_killed_world_is_an_error_and_never_a_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    envs: list[SqlEnv] = []
    make = Sql.make

    def remember(self: Sql, services: Services) -> SqlEnv:
        envs.append(make(self, services))
        return envs[-1]

    def say(session: str, depth: int) -> str:
        if depth == 1:
            victims = [env for env in envs[::2] if env._box is not None and env.sql._world is not None]
            for env in victims:
                end(env)
        return sql(RESTOCK[depth]) if depth < len(RESTOCK) else "<answer>done</answer>"

    monkeypatch.setattr(Sql, "make", remember)
    async with Services() as services:
        guard = Guard(max_error_frac=1.0, retries=0, concurrency=4)
        manager = Manager(config(), Script(say=say), Chat(nano.tokenizer()), services, Limits(10**6), guard)
        [group] = await manager.run(Independent(), [("g", task("state"))], 0, 8)
    ends = [(group.outcome(leaf), group.turns[leaf].reward) for leaf in group.leaves()]
    assert {outcome for outcome, _ in ends} == {Outcome.DONE, Outcome.ENV_ERROR}
    assert all(reward == (outcome is Outcome.DONE) for outcome, reward in ends)
