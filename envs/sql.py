"""Questions to a database, and changes to it: look at the schema, run statements, answer with a query, a value or
the state that the database is left in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from agentgym.config import Spec
from agentgym.database import Access, DatabaseHost, Template
from agentgym.env import Demonstration, Env, StepResult
from agentgym.envs import sql_demos
from agentgym.envs.grading import Verdict
from agentgym.envs.sql_grading import right_value
from agentgym.envs.sql_judging import Question, judge_query, judge_state
from agentgym.envs.tool_turns import ToolTurnsConfig, ToolTurnsEnv
from agentgym.errors import TaskError
from agentgym.ranges import within
from agentgym.tool import Toolset
from agentgym.tooling.load import Instance
from agentgym.tools.python import strip_fence
from agentgym.tools.sql import Sql as SqlTool
from agentgym.types import Message, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services

HOW = {
    "query": "The answer is one SQL query whose result answers the question.",
    "value": "The answer is the value that was asked for, and nothing else.",
    "state": "Change the database as the task says. When that is done, answer with the word done.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql(ToolTurnsConfig):
    """A database for every episode, copied from the task's; one answer, which is judged by execution.

    Fields as in ToolTurnsConfig, and: protocol: how the policy calls the tool. max_rows: rows of a result that the
    policy sees. observation_tokens: of a result that it sees. seconds: of processor time that a statement may
    take. memory_mb: that a database may take besides what it begins with. demo_direct_rate: share of
    demonstrations that give up at once.
    """

    runs_programs: ClassVar[bool] = False

    tasks: Spec = "ledgers"
    protocol: Spec = "search_r1"
    max_rows: int = 20
    observation_tokens: int = 500
    seconds: float = 5.0
    memory_mb: int = 256
    demo_direct_rate: float = 0.0

    def __post_init__(self) -> None:
        ToolTurnsConfig.__post_init__(self)
        within(self, 0, 1, "demo_direct_rate")
        self.tool(Template("sqlite"), "read")  # what is wrong is wrong before anything is played

    def make(self, services: Services) -> SqlEnv:
        return SqlEnv(self, services)

    def tool_specs(self) -> list[Spec]:
        return ["sql"]

    def protocol_spec(self) -> Spec:
        return self.protocol

    def tool(self, database: Template, access: Access) -> SqlTool:
        """The tool of an episode."""
        return SqlTool(
            database.to_table(),
            access,
            max_rows=self.max_rows,
            max_tokens=self.observation_tokens,
            seconds=self.seconds,
            memory_mb=self.memory_mb,
        )


class SqlEnv(ToolTurnsEnv):
    """One episode.

    A step's info at the end, beside what ToolTurnsEnv reports: grader_note: why the answer could not be run.
    """

    config: Sql
    goal = "Solve the problem. You can run SQL statements on the database while you think."

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        self.question = Question.of(task)
        messages = await ToolTurnsEnv.start(self, task, rng)
        host: DatabaseHost = await self.services.get(self.sql.worlds)
        try:  # now, and not when it is first asked: who never asks must not be paid for what is no fault of his
            await host.load(self.question.database)
        except TaskError as error:
            raise TaskError(f"task {task.id!r}: {error}") from error
        return messages

    def toolsets(self, task: Task) -> Sequence[Toolset]:
        return [Instance(self.config.tool(self.question.database, self.question.access), "sql")]

    def instructions(self) -> str:
        parts = (
            self.goal,
            self.dialogue.how_to_call,
            HOW[self.question.answers_with],
            self.dialogue.how_to_answer,
        )
        return "\n\n".join(parts)

    async def finish(self, answer: str | None) -> StepResult:
        verdict = Verdict(False) if answer is None else await self.judge(strip_fence(answer))
        reward = self.config.reward_right if verdict.right else self.config.reward_wrong
        info = self.facts(success=verdict.right, answer=answer, outcome=Outcome.DONE, **verdict.remarks)
        return StepResult("", reward, True, False, info)

    async def judge(self, answer: str) -> Verdict:
        """Whether the answer, or the state that the database was left in, is right."""
        assert self.task is not None
        if self.question.answers_with == "value":
            return Verdict(right_value(answer, self.task.answer))
        tool = self.sql
        host: DatabaseHost = await self.services.get(tool.worlds)
        if self.question.answers_with == "query":
            return await judge_query(self.question, answer, host)
        return await judge_state(self.question, await tool.open(self.box.context), host)

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        assert isinstance(twin, SqlEnv)
        twin.question = self.question
        await ToolTurnsEnv.copy_to(self, twin, seed)

    def demonstrate(self, rng: random.Random) -> Demonstration:
        """Runs the task's steps, or else its gold statements, and goes on from what they said."""
        return sql_demos.demonstrate(self, rng)

    @property
    def sql(self) -> SqlTool:
        """The episode's tool, which has its database."""
        tool: SqlTool = self.box.target("sql")
        return tool
