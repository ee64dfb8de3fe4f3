"""Runs a tool server until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from agentgym.serving.loop import serve_until_told, serving
from agentgym.tools.serving.app import make_app
from agentgym.tools.serving.metrics import ToolMetrics
from agentgym.tools.serving.process import Worker
from agentgym.tools.serving.router import Router
from agentgym.tools.serving.settings import ServeTools


@contextlib.asynccontextmanager
async def running(settings: ServeTools) -> AsyncIterator[str]:
    """A server; its URL. Afterwards its workers have ended. Raises ConfigError."""
    token = settings.find_token()
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(settings.listen())
        workers = [Worker(settings) for _ in range(settings.workers)]
        stack.push_async_callback(_close, workers)
        await _start(workers)
        app = make_app(Router(workers, settings), settings, token, ToolMetrics())
        url = await stack.enter_async_context(serving(app, listener))
        stack.push_async_callback(_close, workers)  # actions in flight are answered, and so connections can close
        yield url


async def serve(settings: ServeTools, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. say: told the address."""
    await serve_until_told(running(settings), say)


async def _start(workers: list[Worker]) -> None:
    """The first one alone, so that what is wrong with the tools is said once."""
    first, *others = workers
    await first.start()
    await asyncio.gather(*(worker.start() for worker in others))


async def _close(workers: list[Worker]) -> None:
    await asyncio.gather(*(worker.close() for worker in workers))
