"""Runs an application until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from agentgym.serving.address import url_of

KEEP_ALIVE = 60
"""Seconds that an idle connection stays open; longer than clients keep theirs, so that these close first."""
MAX_CONNECTIONS = 8192
STOP_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn, but for its handling of signals: it would raise them again before all is closed."""

    capture_signals = staticmethod(contextlib.nullcontext)  # type: ignore[assignment]


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket, **options: Any) -> AsyncIterator[str]:
    """The application's URL while it is served. options: uvicorn's, on top of ours."""
    config = uvicorn.Config(
        app,
        **{
            "http": "h11",
            "ws": "none",
            "lifespan": "off",
            "log_config": None,
            "access_log": False,
            "proxy_headers": False,
            "server_header": False,
            "limit_concurrency": MAX_CONNECTIONS,
            "timeout_keep_alive": KEEP_ALIVE,
            "timeout_graceful_shutdown": STOP_SECONDS,
            **options,
        },
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        await running


async def serve_until_told(server: AbstractAsyncContextManager[str], say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, which also break off the start. say: told the address."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with server as url:
        for name in (signal.SIGINT, signal.SIGTERM):  # until here they cancel, as they do elsewhere
            loop.add_signal_handler(name, stop.set)
        say(f"serving at {url}")
        await stop.wait()
