"""Sandboxes with a fault that can be switched on: a file that is there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym.errors import SandboxError
from agentgym.sandbox import Protection, SandboxHost
from agentgym.sandboxes.local import Local


@dataclass(frozen=True)
class Odd:
    """The local sandbox, which while the file `broken` exists has no sessions to give."""

    broken: str

    async def open(self) -> SandboxHost:
        return OddHost(await Local(allow_weak=True, preload=()).open(), Path(self.broken))

    async def protections(self) -> list[Protection]:
        return [Protection("walls", True, "thick"), Protection("network", False, "open")]


class OddHost:
    def __init__(self, real: SandboxHost, broken: Path) -> None:
        self._real, self._broken = real, broken
        self.close = real.close

    async def session(self) -> Any:
        if self._broken.exists():
            raise SandboxError("the daemon is down")
        return await self._real.session()


@dataclass(frozen=True)
class Hangs:
    """Sessions whose programs never end."""

    async def open(self) -> Any:
        return self

    async def session(self) -> Any:
        return self

    calls = 0

    async def run(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass
