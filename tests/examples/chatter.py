"""An environment that pays for how an action happens to end, so that a policy knowing nothing has luck."""

from __future__ import annotations

import random
from dataclasses import dataclass

from agentgym.env import Env, Split, StepResult, TaskSource
from agentgym.services import Services
from agentgym.types import Message, Task


@dataclass(frozen=True)
class Chatter:
    """Three turns; the last byte of each is worth 0 to 3."""

    def make(self, services: Services) -> ChatterEnv:
        return ChatterEnv(self, services)

    def source(self) -> TaskSource:
        return Numbers()


class Numbers:
    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        numbers = [rng.randrange(10**6) for _ in range(n or 1)]
        return [Task(f"{i}: {number}", f"Say something about {number}.", "") for i, number in enumerate(numbers)]


class ChatterEnv(Env):
    stop = ("e", "o", "7")

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        self._turns = 0
        return [{"role": "user", "content": str(task.prompt)}]

    async def act(self, action: str) -> StepResult:
        self._turns += 1
        info = {"success": False, "tool_calls": 0}
        return StepResult(f"\n({len(action)} letters)\n", action.encode()[-1] % 4, self._turns == 3, False, info)
