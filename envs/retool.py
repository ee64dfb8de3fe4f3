r"""ReTool (arXiv 2504.11536): reason, run Python in between, answer in `\boxed{}`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.config import Spec
from agentgym.env import Demonstration
from agentgym.envs import retool_demos
from agentgym.envs.answered import AnsweredConfig, AnsweredEnv
from agentgym.ranges import above, within

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Retool(AnsweredConfig):
    """A question, a Python interpreter that lives as long as the episode, one checked answer.

    Fields as in AnsweredConfig, and: timeout: seconds a program may run. demo_error_rate: share of demonstrations
    that first make a mistake and correct it.
    """

    tasks: Spec = "arith"
    timeout: float = 5.0
    demo_error_rate: float = 0.1

    def __post_init__(self) -> None:
        AnsweredConfig.__post_init__(self)
        above(self, 0, "timeout")
        within(self, 0, 1, "demo_error_rate")

    def make(self, services: Services) -> RetoolEnv:
        return RetoolEnv(self, services)

    def tool_specs(self) -> list[Spec]:
        return [{"name": "python", "timeout": self.timeout}]

    def protocol_spec(self) -> Spec:
        return "retool"


class RetoolEnv(AnsweredEnv):
    """One episode."""

    config: Retool
    goal = "Solve the problem. You can run Python programs while you think."

    def demonstrate(self, rng: random.Random) -> Demonstration:
        assert self.task is not None, "reset() comes first"
        config = self.config
        rates = (config.demo_error_rate, config.demo_direct_rate)
        return retool_demos.demonstrate(self.task, self.dialogue, rng, *rates)
