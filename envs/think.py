r"""Questions that are thought about, without tools, and answered in `\boxed{}`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.boxed import last_boxed
from agentgym.config import Spec
from agentgym.env import Demonstration, Env, StepResult, TaskSource
from agentgym.envs.grading import Checker, grade
from agentgym.envs.tasks import sums
from agentgym.envs.tasks.source import task_source
from agentgym.protocol import Prompt, opening
from agentgym.ranges import within
from agentgym.types import Message, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services

HOW = r"Solve the problem. Think step by step, and give the answer in \boxed{}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Think:
    """A question, one turn, one checked answer.

    tasks, eval_tasks: see `tasks/source.py`. checker: how answers are compared. reward_right, reward_wrong: paid
    for the answer. prompt: whether instructions come before the question, see `protocol.py`. demo_error_rate:
    share of a demonstration's steps that go wrong, unnoticed (tasks `sums`).
    """

    tasks: Spec = "sums"
    eval_tasks: Spec | None = None
    checker: Checker = "auto"
    reward_right: float = 1.0
    reward_wrong: float = 0.0
    prompt: Prompt = "auto"
    demo_error_rate: float = 0.0

    def __post_init__(self) -> None:
        within(self, 0, 1, "demo_error_rate")

    def make(self, services: Services) -> ThinkEnv:
        return ThinkEnv(self, services)

    def source(self) -> TaskSource:
        return task_source(self.tasks, self.eval_tasks)


class ThinkEnv(Env):
    """One episode."""

    config: Think

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        return opening(task.prompt, self.config.prompt, HOW)

    async def act(self, action: str) -> StepResult:
        assert self.task is not None, "reset() comes first"
        answer = last_boxed(action)
        verdict = await grade(self.task, answer, self.config.checker, self.services)
        reward = self.config.reward_right if verdict.right else self.config.reward_wrong
        info = {"success": verdict.right, "answer": answer, "outcome": Outcome.DONE, **verdict.remarks}
        return StepResult("", reward, True, False, info)

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        """Nothing happens before the answer."""

    def demonstrate(self, rng: random.Random) -> Demonstration:
        """Thinks a task of `sums` through."""
        assert self.task is not None, "reset() comes first"
        if not {"numbers", "steps", "base"} <= self.task.info.keys():
            raise NotImplementedError(
                f"task {self.task.id!r} does not say how it is thought through, as those of `sums` do"
            )
        return _demonstrate(*sums.think(self.task.info, rng, self.config.demo_error_rate))


def _demonstrate(thought: str, answer: str) -> Demonstration:
    yield f"{thought}\\boxed{{{answer}}}"
