from __future__ import annotations

import asyncio
import gc
import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agentgym.retrievers.serving.server import running
from agentgym.retrievers.serving.settings import ServeRetriever

from .server_process import SHELF

Serving = Callable[..., Any]


async def until(holds: Callable[[], Any]) -> None:
    """Wait until what `holds` returns, or what that gives when it is awaited, is true."""
    async with asyncio.timeout(120.0):
        while True:
            found = holds()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """Starts servers of shelf.py's retriever in this process; their URLs."""
    async with AsyncExitStack() as stack:

        async def start(shelf: dict[str, Any] | None = None, **settings: Any) -> str:
            retriever = {"name": SHELF.partition("=")[2], **(shelf or {})}
            return await stack.enter_async_context(
                running(ServeRetriever(**{"retriever": retriever, "port": 0, **settings}))
            )

        yield start


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """Fails a test that leaves a task or a descriptor."""
    tasks: set[Any] = {*asyncio.all_tasks()}
    descriptors = _descriptors()
    yield
    tasks |= {asyncio.current_task()}
    # sockets are closed a turn of the loop after they are told to
    await until(lambda: asyncio.all_tasks() <= tasks and _descriptors() <= descriptors)


def _descriptors() -> set[str]:
    gc.collect()
    return set(os.listdir("/proc/self/fd"))
