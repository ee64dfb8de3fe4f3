"""An environment in which the policy counts on, answered inside of its message or by messages."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from agentgym.env import Env, StepResult
from agentgym.services import Services
from agentgym.types import Message, Observation, Task


@dataclass(frozen=True)
class Counting:
    """turns: numbers to say. inside: what is shown continues the policy's message. silent: it is shown that much
    text besides."""

    turns: int = 3
    inside: bool = False
    silent: int = 0

    def make(self, services: Services) -> Env:
        return CountingEnv(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class CountingEnv(Env):
    config: Counting
    stop = ("</say>", "</give_up>")

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        self.number, self.left = int(task.prompt) if isinstance(task.prompt, str) else 0, self.config.turns
        return [{"role": "system", "content": "Count on."}, {"role": "user", "content": f"from {self.number}"}]

    async def act(self, action: str) -> StepResult:
        self.number += 1
        self.left -= 1
        right = action == f"<say>{self.number}</say>"
        text = f"{'x ' * self.config.silent}after {self.number}"
        shown: Observation = text if self.config.inside else [{"role": "user", "content": text}]
        return StepResult(shown, float(right), self.left == 0, False, {"success": right})

    def unfinished_reward(self) -> float:
        return -1.0


def tasks(count: int) -> list[tuple[str, Task]]:
    return [(f"t{i}", Task(f"t{i}", str(10 + i), "")) for i in range(count)]
