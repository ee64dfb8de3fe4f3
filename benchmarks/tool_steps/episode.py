"""The episode that all play, and what plays it. Standard library only: the peers' environments lack ours."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

TURNS = 16
"""Of an episode: all but the last call the tool, which says again what it is given; the last one answers."""
SAID = "hello 42"
ANSWER = "42"
CALL = f"Let me see.\n<echo>\n{SAID}\n</echo>"
CLOSING = f"<answer>\\boxed{{{ANSWER}}}</answer>"
ACTIONS = (CALL,) * (TURNS - 1) + (CLOSING,)


class Subject(ABC):
    """An environment and the loop around it. idlers: idle episodes to weigh."""

    idlers: int = 10_000

    @abstractmethod
    async def episode(self, seconds: list[float]) -> None:
        """Play one, from nothing to its end, and append what each step took."""

    async def idle(self) -> Any:
        """Whatever keeps an episode alive after its first step."""
        raise NotImplementedError

    async def play(self, lanes: int, end: float) -> list[float]:
        """Seconds of each step; a lane plays one episode after the other until the time is up."""
        seconds: list[float] = []

        async def lane() -> None:
            while True:
                await self.episode(seconds)
                if time.perf_counter() >= end:
                    return

        await asyncio.gather(*(lane() for _ in range(lanes)))
        return seconds

    async def close(self) -> None:  # noqa: B027  (most hold nothing)
        """Free what it holds."""


async def walk(step: Callable[[str], Awaitable[Any]], actions: Sequence[str], seconds: list[float]) -> Any:
    """Take the steps, append what each took, and return what the last one did."""
    result = None
    for action in actions:
        await asyncio.sleep(0)  # the policy's turn, in which other episodes go on
        began = time.perf_counter()
        result = await step(action)
        seconds.append(time.perf_counter() - began)
    return result


def must(holds: bool, what: object) -> None:
    """Raises RuntimeError about an episode that did not go as it should."""
    if not holds:
        raise RuntimeError(f"the episode went otherwise: {what!r:.500}")
