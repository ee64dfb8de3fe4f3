"""Questions with one answer that is checked: what `retool` and `tool_agent` share."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

from agentgym.env import StepResult
from agentgym.envs.grading import Checker, grade
from agentgym.envs.tool_turns import ToolTurnsConfig, ToolTurnsEnv
from agentgym.ranges import within
from agentgym.types import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredConfig(ToolTurnsConfig, ABC):
    """Fields as in ToolTurnsConfig, and: checker: how answers are compared. demo_direct_rate: share of
    demonstrations that answer at once, as one who knows would: a policy that copies them guesses, and must find
    out for itself when a call pays.
    """

    checker: Checker = "auto"
    demo_direct_rate: float = 0.0

    def __post_init__(self) -> None:
        ToolTurnsConfig.__post_init__(self)
        within(self, 0, 1, "demo_direct_rate")


class AnsweredEnv(ToolTurnsEnv):
    """One episode."""

    config: AnsweredConfig

    async def finish(self, answer: str | None) -> StepResult:
        assert self.task is not None
        verdict = await grade(self.task, answer, self.config.checker, self.services)
        reward = self.config.reward_right if verdict.right else self.config.reward_wrong
        info = self.facts(success=verdict.right, answer=answer, outcome=Outcome.DONE, **verdict.remarks)
        return StepResult("", reward, True, False, info)
