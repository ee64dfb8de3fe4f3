from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentgym.errors import SandboxError
from agentgym.sandboxes.local import Local, LocalHost


@functools.cache
def why_no_walls() -> str:
    async def attempt() -> str:
        try:
            await (await Local(preload=()).open()).close()
        except SandboxError as error:
            return str(error)
        return ""

    return asyncio.run(attempt())


@pytest.fixture
def walls() -> str:
    if why_no_walls():
        pytest.skip(why_no_walls())
    return "bubblewrap"


@pytest.fixture
def no_walls(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A machine without bubblewrap."""
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    return "none"


@pytest.fixture(params=["walls", "no_walls"])
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def open_host(mode: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens hosts with and without walls, and closes them."""
    hosts: list[LocalHost] = []

    async def opened(**fields: Any) -> LocalHost:
        hosts.append(await Local(**{"preload": (), "allow_weak": True, **fields}).open())
        assert hosts[-1].mode == mode
        return hosts[-1]

    yield opened
    for host in hosts:
        await host.close()
