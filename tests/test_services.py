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


@dataclass(frozen=True)
class Second:
    """Opens at the second try. opened: the tries."""

    opened: tuple[list[str]]

    def __hash__(self) -> int:
        return 1

    async def open(self) -> Second:
        self.opened[0].append("try")
        await asyncio.sleep(0)
        if len(self.opened[0]) == 1:
            raise OSError("not yet")
        return self

    async def close(self) -> None:
        self.opened[0].append("closed")


async def test_who_tries_again_shares_the_next_opening() -> None:
    tries: list[str] = []
    config = Second((tries,))

    async def ask(services: Services) -> Second:
        try:
            return await services.get(config)
        except OSError:
            return await services.get(config)

    async with Services() as services:
        got = await asyncio.gather(*(ask(services) for _ in range(64)))
        assert all(each is got[0] for each in got)
        assert tries == ["try", "try"]
    assert tries == ["try", "try", "closed"]


async def test_who_gives_up_as_it_opens_takes_it_from_nobody() -> None:
    tries = ["before"]
    config = Second((tries,))
    async with Services() as services:
        asking = [asyncio.create_task(services.get(config)) for _ in range(2)]
        while len(tries) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking[0].cancel()  # when it has opened, and before who asked has heard of it
        await asyncio.gather(*asking, return_exceptions=True)
        assert await services.get(config) is config
        assert tries == ["before", "try"]
    assert tries == ["before", "try", "closed"]
