"""An environment that takes back what it showed."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass

from agentgym.env import Demonstration, Env, Split, StepResult
from agentgym.services import Services
from agentgym.types import Observation, Task


@dataclass(frozen=True)
class Notes:
    """Tasks without an end."""

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        assert n is not None
        return [Task(f"t{i}", f"Remember {rng.randrange(10**6)}", "") for i in range(n)]


@dataclass(frozen=True)
class Forgetful:
    """Config of an environment of `turns` turns that never says the same twice. After those numbered in `forget`,
    from 0, it takes back what it showed before them, and after those in `anew` it begins anew, with another
    speaker. messages: it speaks in chat messages."""

    turns: int = 6
    forget: tuple[int, ...] = (1, 3, 4)
    anew: tuple[int, ...] = ()
    messages: bool = False

    def make(self, services: Services) -> Env:
        return ForgetfulEnv(self, services)

    def source(self) -> Notes:
        return Notes()


class ForgetfulEnv(Env):
    config: Forgetful
    stop = tuple("aeinorst")  # so that a random policy's turns are short

    async def start(self, task: Task, rng: random.Random) -> Observation:
        self.turn, self.rng, self.agent = 0, rng, "speaker 0"
        return str(task.prompt)

    async def act(self, action: str) -> StepResult:
        turn, self.turn = self.turn, self.turn + 1
        note = f"\n<{self.rng.randrange(10**9)}>\n"
        info = {"forget": turn in self.config.forget, "success": "e" in action, "tool_calls": self.turn}
        if turn in self.config.anew:
            info["anew"], self.agent = True, f"speaker {self.turn}"
        over = self.turn == self.config.turns
        shown: Observation = [{"role": "user", "content": note}] if self.config.messages else note
        return StepResult(shown, float(len(action) % 3), over, False, info)

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        assert isinstance(twin, ForgetfulEnv)
        twin.turn, twin.agent = self.turn, self.agent
        twin.rng = copy.copy(self.rng) if seed is None else random.Random(seed)

    def demonstrate(self, rng: random.Random) -> Demonstration:
        while True:
            yield f"{rng.randrange(10)}{rng.choice(self.stop)}"
