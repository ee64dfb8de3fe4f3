"""Requests that are worked on once, however often they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from agentgym.serving.problem import Problem

T = TypeVar("T")

KEPT = 8
"""Results of a session that can be asked for again."""
ENDING_SECONDS = 10.0
"""How long a call that was cancelled may take to end."""


class Replies:
    """A session's calls by request id. A call goes on when its client hangs up, and its result is kept."""

    def __init__(self) -> None:
        self._calls: dict[str, asyncio.Task[Any] | None] = {}  # None: known, and not to be worked on any more

    async def once(self, request: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, begun by the first request of this id; raises what it raised.

        Work that was refused as busy has not begun: the next request of that id tries again.
        """
        if request not in self._calls:
            self._forget_old()
            self._calls[request] = asyncio.create_task(work(), name=f"call {request}")
        call = self._calls[request]
        if call is None:
            raise Problem("lost", f"call {request} was cancelled, or its result is not kept any more")
        try:
            result: T = await asyncio.shield(call)
            return result
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            raise Problem("lost", f"call {request} was cancelled, or ended with its session") from None
        except Problem as problem:
            if problem.kind == "busy" and self._calls.get(request) is call:
                del self._calls[request]
            raise

    async def cancel(self, request: str) -> None:
        """End a call, also one that has not come yet."""
        call = self._calls.get(request)
        self._calls[request] = None
        if call is not None:
            call.cancel()
            await asyncio.wait({call}, timeout=ENDING_SECONDS)

    async def cancel_all(self) -> None:
        """End every call, and begin no other of those known."""
        await asyncio.gather(*(self.cancel(request) for request in list(self._calls)))

    def _forget_old(self) -> None:
        done = [request for request, call in self._calls.items() if call is not None and call.done()]
        for request in done[: max(0, len(done) - KEPT + 1)]:
            self._calls[request] = None
