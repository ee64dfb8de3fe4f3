"""Batches that are played before it is their turn to be learned from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from agentgym.types import Group


class Ahead:
    """Plays the batches of a stage in their order, up to `ahead` more at the same time than the one that is waited
    for: none of its tokens is then older than `ahead` updates when it is learned from, since it was begun when
    the batch that many before it was waited for. ahead 0: each is played when it is asked for.

    play: plays a batch, by its number. end: the number after the last.
    """

    def __init__(self, play: Callable[[int], Awaitable[list[Group]]], end: int, ahead: int = 0) -> None:
        self.play, self.end, self.ahead = play, end, ahead
        self._under_way: dict[int, asyncio.Future[list[Group]]] = {}

    async def groups(self, number: int) -> list[Group]:
        """The batch; those after it are begun."""
        for each in range(number, min(number + self.ahead + 1, self.end)):
            if each not in self._under_way:
                self._under_way[each] = asyncio.ensure_future(self.play(each))
        await asyncio.sleep(0)  # those just begun draw their tasks, before the batch is learned from
        try:
            return await self._under_way[number]
        finally:
            del self._under_way[number]

    async def close(self) -> None:
        """Give up what is under way."""
        waiting = list(self._under_way.values())
        self._under_way.clear()
        for batch in waiting:
            batch.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
