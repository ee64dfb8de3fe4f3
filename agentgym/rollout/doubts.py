"""Where a doubt stands in what was said, and how likely REX-RAG's probes (arXiv 2508.08149) are to put it
there."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym.errors import EngineError
from agentgym.types import Tokens, Turn

Score = Callable[[Sequence[int]], Awaitable[Tokens]]

DOUBTS = (
    " But have I checked this at its source?",
    " What if the question means something else?",
    " One link here is a guess; which one is it?",
    " I have not read anything that says so.",
    " Another search might tell me more.",
    " Does this fit with everything I was shown?",
    " Perhaps I mixed up two of the names.",
    " Let me look at the question once more.",
    " I would rather look this up than guess.",
    " Is there something that speaks against it?",
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a turn began: all ids before it, the tokens that could still be sampled, the state of the world."""

    ids: tuple[int, ...]
    budget: int
    state: str


@dataclass(frozen=True, slots=True)
class Probes:
    """What a group's probes can say, and in place of what. rate: how often a wrong answer is followed by a probe
    with a certain doubt. answers: the wrong ones, without duplicates. score: asks the policy."""

    doubts: Sequence[tuple[int, ...]]
    answers: Sequence[tuple[int, ...]]
    rate: float
    score: Score

    async def marks(self, moment: Moment, turn: Turn, inserted: tuple[int, int] | None) -> list[dict[str, Any]]:
        """One for each place in the turn where a probe could have put what stands there. inserted: the place and
        the length of what a probe has put."""
        logprobs = logprobs_of(turn.action)
        return [
            {
                "rate": self.rate,
                "reach": await self._reach(moment, turn.action.ids[:at]),
                "tokens": length,
                "logprob": math.fsum(logprobs[at : at + length]),
                "inserted": (at, length) == inserted,
            }
            for at, length in self._places(turn.action.ids)
        ]

    def _places(self, ids: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Where a doubt stands, and its length; something must follow, for a probe goes on."""
        for at in range(len(ids)):
            for doubt in self.doubts:
                if ids[at : at + len(doubt)] == doubt and at + len(doubt) < len(ids):
                    yield at, len(doubt)

    async def _reach(self, moment: Moment, said: tuple[int, ...]) -> float:
        """How likely one of the wrong answers is to come next."""
        before, reach = (*moment.ids, *said), 0.0
        for answer in self.answers:
            if len(said) + len(answer) <= moment.budget:
                scored = await self.score([*before, *answer])
                reach += math.exp(math.fsum(logprobs_of(scored)[len(before) :]))
        return reach


def logprobs_of(tokens: Tokens) -> tuple[float, ...]:
    """Raises EngineError where the engine reports none."""
    if tokens.logprobs is None:
        raise EngineError(
            "rex_rag needs an engine that reports the log-probabilities of what it samples and scores"
        )
    return tokens.logprobs
