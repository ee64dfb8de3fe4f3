"""A search server in a process of its own, which can be killed and started again at the same address."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.free_port import free_port

SHELF = f"retriever={Path(__file__).with_name('shelf.py')}:Shelf"


class ServerProcess:
    """`agentgym serve`. words: what it is told besides its port."""

    def __init__(self, *words: str) -> None:
        self.port = free_port()
        self._words = words or (SHELF,)
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when it serves."""
        words = ("-m", "agentgym", "serve", f"port={self.port}", *self._words)
        self.process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        async with asyncio.timeout(60.0):
            line = (await self.process.stdout.readline()).decode()
        assert line == f"serving at {self.url}\n"

    async def kill(self) -> None:
        """End it in the middle of whatever it does."""
        assert self.process is not None
        self.process.kill()
        await self.process.communicate()

    async def stop(self) -> int:
        """Tell it to end, if it lives; its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(30.0):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    async def __aenter__(self) -> ServerProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
