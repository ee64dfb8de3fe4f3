"""Environments that do what a server must survive. `log`: a file that tells what happened to them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

from agentgym.env import Env, StepResult, TaskSource
from agentgym.envs.tasks.seeds import Seeds
from agentgym.errors import SandboxError
from agentgym.services import Services
from agentgym.types import Message, Task


@dataclass(frozen=True)
class Odd:
    """An action is an order: `hang`, `fail`, `win`, `stop` (a limit is reached); anything else is echoed."""

    log: str = "/dev/null"

    def make(self, services: Services) -> Env:
        return OddEnv(self, services)

    def source(self) -> TaskSource:
        return Seeds()


class OddEnv(Env):
    config: Odd

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        self._say("start")
        return [{"role": "system", "content": "Be odd."}, {"role": "user", "content": f"Seed {task.info['seed']}"}]

    async def act(self, action: str) -> StepResult:
        self._say(action)
        if action == "hang":
            await asyncio.Event().wait()
        if action == "fail":
            raise SandboxError("the lights went out")
        over = action in ("win", "stop")
        return StepResult(action, float(action == "win"), action == "win", action == "stop", {"over": over})

    async def release(self) -> None:
        self._say("release")

    def _say(self, text: str) -> None:
        with Path(self.config.log).open("a") as file:
            file.write(f"{text}\n")
