from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentgym.sandboxes.local import Local, LocalHost


@functools.cache
def why_no_bubblewrap() -> str:
    words = Local(isolation="bubblewrap").describe()
    return words if words.startswith("unusable") else ""


@pytest.fixture
def bubblewrap() -> str:
    if why_no_bubblewrap():
        pytest.skip(why_no_bubblewrap())
    return "bubblewrap"


@pytest.fixture(params=["bubblewrap", "none"])
def isolation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return request.getfixturevalue(name) if name == "bubblewrap" else name


@pytest.fixture
async def open_host(isolation: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens hosts under each isolation, and closes them."""
    hosts: list[LocalHost] = []

    async def opened(**fields: Any) -> LocalHost:
        hosts.append(await Local(isolation=isolation, **fields).open())  # type: ignore[arg-type]
        return hosts[-1]

    yield opened
    for host in hosts:
        await host.close()
