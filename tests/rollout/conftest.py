"""A tiny random model behind the real engine, and environments that misbehave on command."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import Env, StepResult
from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Task


@dataclass(frozen=True)
class Moody:
    """Config of an environment of `turns` turns that pays 1 for each. moods: task id -> what goes wrong there.

    hang, raise, hang_on_close, raise_on_close, prompt (too long for any model); `once` before one of them: at the
    first try only. attempts: tries, by task id. open: environments not yet closed. hanging: those that ever hung.
    """

    moods: Mapping[str, str] = field(default_factory=dict)
    turns: int = 2
    attempts: Counter[str] = field(default_factory=Counter)
    open: set[Env] = field(default_factory=set)
    hanging: set[Env] = field(default_factory=set)

    def make(self, services: Services) -> Env:
        return MoodyEnv(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class MoodyEnv(Env):
    config: Moody
    stop = tuple("aeinorst")  # so that a random policy's turns are short
    mood = ""

    async def start(self, task: Task, rng: random.Random) -> str:
        self.config.open.add(self)
        self.config.attempts[task.id] += 1
        mood, first = self.config.moods.get(task.id, ""), self.config.attempts[task.id] == 1
        self.mood = mood.removeprefix("once ") if first or not mood.startswith("once ") else ""
        self.left = self.config.turns
        return "word " * 9999 if self.mood == "prompt" else str(task.prompt)

    async def act(self, action: str) -> StepResult:
        self.left -= 1
        if self.mood == "hang":  # at once, when the others have turns to go
            self.config.hanging.add(self)
            await asyncio.get_running_loop().create_future()
        if self.mood == "raise" and self.left == 0:
            raise OSError("the database is on fire")
        return StepResult("and then?", 1.0, self.left == 0, False, {"success": self.left == 0})

    async def close(self) -> None:
        await super().close()
        if self.mood == "hang_on_close":
            self.mood = ""
            await asyncio.get_running_loop().create_future()
        self.config.open.discard(self)
        if self.mood == "raise_on_close":
            self.mood = ""
            raise OSError("the door does not shut")


@pytest.fixture(scope="session")
def model() -> Any:
    return nano.model(0)


@pytest.fixture(scope="session")
def chat() -> Chat:
    return Chat(nano.tokenizer())


@pytest.fixture
def engine(model: Any, chat: Chat) -> Any:
    return build("engine", {"name": "torch", "device": "cpu"}).start(model, chat.tokenizer)


@pytest.fixture
async def manager(engine: Any, chat: Chat) -> AsyncIterator[Callable[..., Manager]]:
    """`manager(env, retries=0, ...)`: a manager whose episodes have three seconds."""
    async with Services() as services:

        def make(env: Any, limits: Limits | None = None, **guard: Any) -> Manager:
            guard = {"episode_timeout": 3.0, "max_error_frac": 1.0, **guard}
            return Manager(env, engine, chat, services, limits or Limits(400), Guard(**guard))

        yield make


@pytest.fixture
def moody() -> type[Moody]:
    return Moody
