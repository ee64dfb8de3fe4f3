"""An MCP server at an address."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp.server import Server
from starlette.types import ASGIApp

from agentgym.mcp.settings import ServeMcp
from agentgym.serving.loop import serving
from agentgym.serving.token_guard import TokenGuard

MAX_SESSIONS = 1024
STOP_SECONDS = 1
"""For calls in flight when the server ends; clients' streams for notifications would stay open for ever."""


@contextlib.asynccontextmanager
async def running(server: Server[Any], settings: ServeMcp) -> AsyncIterator[str]:
    """The server at its URL; afterwards its sessions are closed. Raises ConfigError."""
    token = settings.find_token()
    with settings.listen() as listener:
        app: ASGIApp = server.streamable_http_app(host=settings.host, max_sessions=MAX_SESSIONS)
        guarded = TokenGuard(app, token, lambda: None) if token else app
        options = {"lifespan": "on", "timeout_graceful_shutdown": STOP_SECONDS}
        async with serving(guarded, listener, **options) as url:
            yield f"{url}/mcp"
