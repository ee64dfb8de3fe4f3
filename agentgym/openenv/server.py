"""Serves an environment until it is told to stop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from agentgym.config import build
from agentgym.env import EnvConfig
from agentgym.openenv.app import Connections
from agentgym.openenv.settings import ServeEnv
from agentgym.services import Services
from agentgym.serving.loop import serve_until_told, serving


@contextlib.asynccontextmanager
async def running(settings: ServeEnv) -> AsyncIterator[str]:
    """A server; its URL. Afterwards its episodes are closed. Raises ConfigError."""
    token = settings.find_token()
    config: EnvConfig = build("env", settings.env)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(settings.listen())
        connections = Connections(config, await stack.enter_async_context(Services()), settings)
        frames = {"ws": "websockets-sansio", "ws_max_size": settings.max_message}
        url = await stack.enter_async_context(serving(connections.app(token), listener, **frames))
        stack.push_async_callback(connections.shut_down)
        yield url


async def serve(settings: ServeEnv, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. say: told the address."""
    await serve_until_told(running(settings), say)
