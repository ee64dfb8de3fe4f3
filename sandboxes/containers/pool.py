"""Containers that wait, started, for the session that will have them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from agentgym.errors import SandboxError
from agentgym.sandboxes.containers.container import Container

if TYPE_CHECKING:
    from agentgym.sandboxes.containers.daemon import Daemon
    from agentgym.sandboxes.docker import Docker

STARTING_AT_ONCE = 4


class ContainerPool:
    """Hands each container out `config.sessions` times, and has `config.pool` of them waiting or on the way."""

    def __init__(self, config: Docker, daemon: Daemon) -> None:
        self._config = config
        self._daemon = daemon
        self._waiting: deque[asyncio.Task[Container]] = deque()
        self._starting = asyncio.Semaphore(STARTING_AT_ONCE)
        self._shared: Container | None = None
        self._given = 0
        self._sharing = asyncio.Lock()
        self._closed = False

    async def fill(self) -> None:
        """Wait for a first container, so that what is wrong with all of them is known; raises SandboxError."""
        first = asyncio.ensure_future(self._start())
        self._waiting.append(first)
        await asyncio.shield(first)
        self._refill(self._config.pool)

    async def take(self) -> Container:
        """A container, which may have died while it waited; raises SandboxError."""
        if self._config.sessions == 1:
            return await self._take_unused()
        async with self._sharing:  # the one that was begun last, until it has had its share or was left by all
            if self._shared is None or self._shared.dead or self._given >= self._config.sessions:
                self._shared, self._given = await self._take_unused(), 0
            self._given += 1
            return self._shared

    async def _take_unused(self) -> Container:
        if self._closed:
            raise SandboxError("the sandbox host is closed")
        self._refill(self._config.pool + 1)
        starting = self._waiting.popleft()
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._waiting.appendleft(starting)
            raise

    async def close(self) -> None:
        """Remove those that wait and those on the way. May be called twice."""
        self._closed = True
        while self._waiting:
            [started] = await asyncio.gather(self._waiting.popleft(), return_exceptions=True)
            if isinstance(started, Container):
                await started.close()

    def _refill(self, size: int) -> None:
        """Attempts that failed are forgotten: with the daemon back, the next may succeed."""
        self._waiting = deque(task for task in self._waiting if not (task.done() and task.exception()))
        while len(self._waiting) < size:
            self._waiting.append(asyncio.ensure_future(self._start()))

    async def _start(self) -> Container:
        async with self._starting:
            return await Container.start(self._config, self._daemon)
