"""An engine that says what a test wants, with the entropies that it wants, and an environment that listens."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym.engine import Sample, Sampling
from agentgym.env import Env, StepResult
from agentgym.services import Services
from agentgym.types import Tokens

VOCAB = 1000
LENGTH = 20


@dataclass
class Script:
    """An engine: `entropy(session, depth)` and `logprob` are those of each token, `say(session, depth)` the text.

    sessions: all that have spoken, and how many turns deep. Every sample has ids that no other one has.
    """

    entropy: Callable[[str, int], float] = lambda session, depth: 1.0
    say: Callable[[str, int], str] = lambda session, depth: "word"
    length: int = LENGTH
    logprob: Callable[[str, int], float] = lambda session, depth: -1.0

    version = 0
    max_len = 10**9
    vocab_size = VOCAB
    reused, shares_weights = 0, True

    def __post_init__(self) -> None:
        self.sessions: dict[str, int] = {}
        self._ids = itertools.count()

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        assert session is not None
        depth = self.sessions.get(session, birth(session))
        self.sessions[session] = depth + 1
        value, logprob = self.entropy(session, depth), self.logprob(session, depth)
        new = tuple(next(self._ids) for _ in range(self.length))
        tokens = Tokens(new, (logprob,) * self.length, (value,) * self.length, (self.version,) * self.length)
        return Sample(tokens, self.say(session, depth), "eos")

    def release(self, session: str) -> None:
        """Nothing is kept."""


def birth(session: str) -> int:
    """The depth at which a walk of this name begins to speak."""
    return int(session.rpartition("+")[2].partition(".")[0]) if "+" in session else 0


@dataclass(frozen=True)
class Turns:
    """Config of an environment of `turns` turns, or of as many as `random_turns` at most."""

    turns: int = 2
    random_turns: int = 0

    def make(self, services: Services) -> Env:
        return TurnsEnv(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class TurnsEnv(Env):
    config: Turns

    async def start(self, task: Any, rng: random.Random) -> str:
        self.left = rng.randint(1, self.config.random_turns) if self.config.random_turns else self.config.turns
        return "go"

    async def act(self, action: str) -> StepResult:
        if action == "fire":
            raise OSError("the database is on fire")
        self.left -= 1
        return StepResult("on", 1.0, self.left == 0, False, {"success": True})

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        assert isinstance(twin, TurnsEnv)
        twin.left = self.left
        if self.config.random_turns and seed is not None:
            twin.left = random.Random(seed).randint(1, self.config.random_turns)
