r"""ReTool (arXiv 2504.11536): reason, run Python in between, answer in `\boxed{}`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.boxed import last_boxed
from agentgym.config import Spec
from agentgym.env import Demonstration, StepResult
from agentgym.envs import retool_demos, retool_protocol
from agentgym.envs.grading import Checker, grade
from agentgym.envs.interpreter import InterpreterEnv, InterpreterTurns
from agentgym.types import Outcome

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Retool(InterpreterTurns):
    """A question, a Python interpreter that lives as long as the episode, one checked answer.

    Fields as in InterpreterTurns, and: demo_error_rate: share of demonstrations that first make a mistake and
    correct it. demo_direct_rate: share that answers a generated task at once, as one who knows it would: a policy
    that copies them guesses, and must find out for itself when the interpreter pays.
    """

    tasks: Spec = "arith"
    checker: Checker = "auto"
    demo_error_rate: float = 0.1
    demo_direct_rate: float = 0.0

    def __post_init__(self) -> None:
        InterpreterTurns.__post_init__(self)
        for name in ("demo_error_rate", "demo_direct_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")

    def make(self, services: Services) -> RetoolEnv:
        return RetoolEnv(self, services)


class RetoolEnv(InterpreterEnv):
    """One episode."""

    config: Retool
    instructions = retool_protocol.INSTRUCTIONS
    read_answer = last_boxed

    def demonstrate(self, rng: random.Random) -> Demonstration:
        assert self.task is not None, "reset() comes first"
        config = self.config
        return retool_demos.demonstrate(self.task, rng, config.demo_error_rate, config.demo_direct_rate)

    async def finish(self, answer: str | None) -> StepResult:
        assert self.task is not None
        verdict = await grade(self.task, answer, self.config.checker, self.services)
        reward = self.config.reward_right if verdict.right else self.config.reward_wrong
        info = self.facts(success=verdict.right, answer=answer, outcome=Outcome.DONE)
        if verdict.timed_out:
            info["grader_timeout"] = True
        if verdict.note:
            info["grader_note"] = verdict.note
        return StepResult("", reward, True, False, info)
