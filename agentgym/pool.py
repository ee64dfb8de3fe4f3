"""Bounded fan-out. asyncio-pool schedules; leaving the `async with` early cancels instead of waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Pool:
    """At most `size` coroutines at a time."""

    def __init__(self, size: int) -> None:
        from asyncio_pool import AioPool

        self._pool = AioPool(size=size)

    async def run(self, job: Coroutine[Any, Any, T]) -> T:
        """The result of `job`, once there was room for it. Cancelling the caller cancels the job."""
        future = await self._pool.spawn(job)  # spawn_n would lose a job that is cancelled before it waits
        try:
            result: T = await asyncio.shield(future)
            return result
        except asyncio.CancelledError:
            await self._pool.cancel(future)
            raise

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            await self._pool.cancel()
        await self._pool.join()
