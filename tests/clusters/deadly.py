"""An environment whose tasks may kill a process."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from agentgym.env import Env, StepResult
from agentgym.services import Services
from agentgym.types import Task


@dataclass(frozen=True)
class Deadly:
    """Two turns, the first agent's and the second's, which pay 1 each. A task's info may have `once`, a file: its
    absence means that nobody was killed yet; `pid`, whom to kill in the second turn, if not the process that
    plays; `always`: every time. deadly: the tasks of the source do that."""

    deadly: bool = False
    agents: ClassVar = ("first", "second")

    def make(self, services: Services) -> Env:
        return DeadlyEnv(self, services)

    def source(self) -> Any:
        return Sums(self.deadly)


@dataclass(frozen=True)
class Sums:
    """Tasks without end; deadly ones kill who plays them, every time."""

    deadly: bool

    def draw(self, n: int | None, rng: random.Random, split: str) -> Sequence[Task]:
        info = {"always": True} if self.deadly else {}
        return [Task(f"sum-{i}", f"What is {i} + {rng.randrange(9)}?", "", info) for i in range(n or 4)]


class DeadlyEnv(Env):
    stop = tuple("aeinorst")  # so that a random policy's turns are short

    async def start(self, task: Task, rng: random.Random) -> str:
        self.task, self.left, self.agent = task, 2, "first"
        return f"{task.prompt} {rng.randrange(1000)}"

    async def act(self, action: str) -> StepResult:
        self.left -= 1
        self.agent = "second"
        if self.left == 0:
            self._kill()
        return StepResult("and then?", 1.0, self.left == 0, False, {"success": True})

    def _kill(self) -> None:
        info = self.task.info
        if "once" in info:
            try:
                Path(info["once"]).touch(exist_ok=False)
            except FileExistsError:
                return
        elif "always" not in info:
            return
        os.kill(info.get("pid", os.getpid()), signal.SIGKILL)
