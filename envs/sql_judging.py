"""Whether an episode's answer is right: what a task says of its database, and what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from agentgym.database import Access, Database, DatabaseHost, Table, Template
from agentgym.envs import sql_grading
from agentgym.envs.grading import Verdict
from agentgym.errors import JudgeError, SqlError, SqlTooMuch, TaskError
from agentgym.qa import texts
from agentgym.types import Task

AnswersWith = Literal["query", "value", "state"]
MAX_ROWS = 100_000
"""Of a result that is compared; a longer one is right nowhere."""


@dataclass(frozen=True, slots=True)
class Question:
    """What `Task.info` says. golds: queries that are right, or the statements that lead to the right state.
    second: a database of the same schema with other rows, on which a query must find the right rows as well.
    access: what the policy may do; it need not be given."""

    database: Template
    second: Template | None
    golds: tuple[str, ...]
    answers_with: AnswersWith
    ordered: bool
    access: Access

    @classmethod
    def of(cls, task: Task) -> Question:
        """Raises TaskError."""
        info = task.info
        for name in ("database", "gold", "answers_with"):
            if name not in info:
                has = ", ".join(info) or "nothing"
                raise TaskError(f"task {task.id!r} needs {name} in its info, which has {has}")
        answers_with, golds = info["answers_with"], tuple(texts(info["gold"]))
        if answers_with not in get_args(AnswersWith):
            raise TaskError(f"task {task.id!r}: info.answers_with is {answers_with!r}: {get_args(AnswersWith)}")
        database = Template.of(info["database"])
        second = Template.of(info["second"]) if info.get("second") else None
        ordered = info.get("ordered")
        if ordered is None and answers_with == "query":
            ordered = sql_grading.is_ordered(golds[0], database.dialect)
        access = info.get("access", "transaction" if answers_with == "state" else "read")
        if access not in get_args(Access):
            raise TaskError(f"task {task.id!r}: info.access is {access!r}: {get_args(Access)}")
        return cls(database, second, golds, answers_with, bool(ordered), access)


async def judge_query(question: Question, answer: str, host: DatabaseHost) -> Verdict:
    """Whether a query finds what a gold query does, in fresh worlds, and before a gold query runs there."""
    found: list[Table] = []
    golds: list[list[Table]] = []
    for template in filter(None, (question.database, question.second)):
        async with fresh(host, template, "read") as world:
            try:
                found.append(await world.execute(answer, MAX_ROWS))
            except SqlError as error:
                for gold in question.golds:
                    await run_gold(world, gold)  # nobody is wrong where the gold is
                return Verdict(False, note=str(error))
            golds.append([await run_gold(world, gold) for gold in question.golds])
    pairs = [list(zip(found, gold, strict=True)) for gold in zip(*golds, strict=True)]
    return Verdict(any(sql_grading.right_rows(each, question.ordered) for each in pairs))


async def judge_state(question: Question, world: Database, host: DatabaseHost) -> Verdict:
    """Whether the world holds what it does after the gold statements; a transaction that is still open does not
    count."""
    async with fresh(host, question.database, "transaction") as reference:
        for gold in question.golds:
            await run_gold(reference, gold)
        right = await reference.state()
    async with closing(await world.fork()) as twin:
        await roll_back(twin)
        try:
            found = await twin.state()
        except SqlError as error:  # grown beyond measure, or broken, by the policy
            return Verdict(False, note=str(error))
    return Verdict(sql_grading.same_state(found, right))


@asynccontextmanager
async def fresh(host: DatabaseHost, template: Template, access: Access) -> AsyncIterator[Database]:
    """A world of one's own, closed afterwards."""
    async with closing(await host.open(template, access)) as world:
        yield world


@asynccontextmanager
async def closing(world: Database) -> AsyncIterator[Database]:
    """Close the world in the end."""
    try:
        yield world
    finally:
        await world.close()


async def roll_back(world: Database) -> None:
    """End the open transaction, where there is one."""
    try:
        await world.execute("ROLLBACK", 1)
    except SqlError:  # there is none
        return


async def run_gold(world: Database, gold: str) -> Table:
    """What a gold statement gives. Raises TaskError where it fails, and JudgeError where it takes too much."""
    try:
        return await world.execute(gold, MAX_ROWS)
    except SqlTooMuch as error:
        limits = "env.seconds and env.memory_mb"
        raise JudgeError(f"a gold statement takes too much: {error} ({limits})\nin: {gold}") from error
    except SqlError as error:
        raise TaskError(f"a gold statement fails: {error}\nin: {gold}") from error
