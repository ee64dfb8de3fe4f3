"""A gate that makes rollouts reproducible to the bit: every live episode speaks in the same engine batch.

Batched matrix products differ in their last bits with the batch's composition, and the composition depends
on how long tools take. With the gate, the engine runs only when every live episode waits for it.
"""

from __future__ import annotations

import asyncio


class Lockstep:
    """Opens when all members wait, and lets them pass in the order of their names."""

    def __init__(self) -> None:
        self._live: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def join(self, name: str) -> None:
        """Become a member; the gate now waits for `name` too."""
        self._live.add(name)

    def leave(self, name: str) -> None:
        """The episode ended."""
        self._live.discard(name)
        self._open()

    async def wait(self, name: str) -> None:
        """Wait for all other members."""
        loop = asyncio.get_running_loop()
        passing = self._waiting[name] = loop.create_future()
        loop.call_soon(self._open)  # not at once: the last to come must not overtake those it lets pass
        try:
            await passing
        finally:
            if self._waiting.get(name) is passing:  # cancelled
                del self._waiting[name]

    def _open(self) -> None:
        if self._waiting and len(self._waiting) == len(self._live):
            waiting, self._waiting = self._waiting, {}
            for name in sorted(waiting):
                if not waiting[name].done():
                    waiting[name].set_result(None)
