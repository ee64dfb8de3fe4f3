"""How much is done at once, and how much may wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentgym.serving.problem import Problem


class Gate:
    """At most `slots` calls at once and `places` more in line, none for longer than `seconds`."""

    def __init__(self, slots: int, places: int, seconds: float) -> None:
        self.running = self.waiting = 0
        self._free = asyncio.Semaphore(slots)
        self._slots, self._places, self._seconds = slots, places, seconds

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A slot for the body; raises Problem (busy) when the line is full or does not move."""
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()

    async def _wait(self) -> None:
        if self.waiting >= self._places:
            raise Problem("busy", f"{self._slots} calls run and {self.waiting} wait, the most this server allows")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Problem("busy", f"no slot became free within {self._seconds:g} s") from None
        finally:
            self.waiting -= 1
