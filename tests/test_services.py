"""Services that are closed while they open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from agentgym.services import Services


@dataclass(frozen=True)
class Slow:
    """Never opens by itself."""

    async def open(self) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Broken:
    """Opens slowly, and not at all."""

    async def open(self) -> None:
        await asyncio.sleep(0)
        raise OSError("no such thing")


async def test_what_still_opens_is_broken_off() -> None:
    async with asyncio.timeout(20.0), Services() as services:
        asking = asyncio.create_task(services.get(Slow()))  # type: ignore[arg-type]  # nothing to close comes of it
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_what_fails_to_open_is_no_failure_to_close() -> None:
    async with Services() as services:
        asking = asyncio.create_task(services.get(Broken()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
