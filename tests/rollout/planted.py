"""Trees that are known in advance: what the policy says at each place, how sure it is, and where it is right."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentgym.env import Env, StepResult
from agentgym.errors import SandboxError
from agentgym.services import Services

from .scripted import Script

Place = tuple[int, ...]
"""A turn: which child it is, at each depth from the prompt on."""


def place(session: str, depth: int) -> Place:
    """The turn that a search's episode of this name makes at `depth`."""
    path = [0] * (depth + 1)
    for fork in session.split("+")[1:]:
        at, copy = fork.split(".")
        path[int(at)] = int(copy)
    return tuple(path)


def read(text: str) -> Place:
    """Where a turn with this text was made."""
    return tuple(int(word) for word in text.split()[1:])


@dataclass
class Tree:
    """What is at each place: a word, an entropy, a logprob. `seen`: the turns that were sampled, in order."""

    say: Callable[[Place], str]
    entropy: Callable[[Place], float] = lambda place: 1.0
    logprob: Callable[[Place], float] = lambda place: -1.0
    seen: list[Place] = field(default_factory=list)


def forest(*trees: Tree) -> Script:
    """An engine that plays the i-th tree in the group `t<i>`."""

    def at(session: str) -> Tree:
        return trees[int(session.partition("/")[0].removeprefix("t"))]

    def say(session: str, depth: int) -> str:
        tree, where = at(session), place(session, depth)
        tree.seen.append(where)
        return " ".join([tree.say(where), *map(str, where)])

    return Script(
        lambda session, depth: at(session).entropy(place(session, depth)),
        say,
        logprob=lambda session, depth: at(session).logprob(place(session, depth)),
    )


@dataclass(frozen=True)
class Words:
    """Config of an environment in which the policy's first word decides.

    right, wrong: the end, and mute without a word about success. crash: the machinery fails; hang: it never
    answers. stuck, burnt: from then on it cannot fork, or fails to; deep: its forks take forever. After `turns`
    turns it is cut off. jitter: it takes its time, at random. open: environments not yet closed.
    """

    turns: int = 1000
    jitter: bool = False
    open: set[Env] = field(default_factory=set)

    def make(self, services: Services) -> Env:
        return WordsEnv(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class WordsEnv(Env):
    config: Words

    def __init__(self, config: Words, services: Services) -> None:
        super().__init__(config, services)
        config.open.add(self)
        self.words: list[str] = []

    async def start(self, task: Any, rng: random.Random) -> str:
        return "go"

    async def act(self, action: str) -> StepResult:
        await self._take_time()
        word = action.split()[0]
        self.words.append(word)
        if word == "crash":
            raise OSError("the database is on fire")
        if word == "hang":
            await asyncio.get_running_loop().create_future()
        info = {"words": len(self.words)} | ({} if word == "mute" else {"success": word == "right"})
        ended = word in ("right", "wrong", "mute")
        return StepResult("on", 0.0, ended, len(self.words) == self.config.turns, info)

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        assert isinstance(twin, WordsEnv)
        await self._take_time()
        if "stuck" in self.words:
            raise SandboxError("a thread is running")
        if "deep" in self.words:
            await asyncio.get_running_loop().create_future()
        if "burnt" in self.words:
            raise OSError("the disk is full")
        twin.words = list(self.words)

    async def close(self) -> None:
        await super().close()
        self.config.open.discard(self)

    async def _take_time(self) -> None:
        if self.config.jitter:
            for _ in range(random.SystemRandom().randrange(20)):
                await asyncio.sleep(0)
