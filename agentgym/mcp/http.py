"""An MCP server at an address."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from mcp.server import Server
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agentgym.errors import ConfigError
from agentgym.mcp.settings import ServeMcp
from agentgym.sandboxes.remote.token import find_token

MAX_SESSIONS = 1024
KEEP_ALIVE = 60
"""Seconds that an idle connection stays open; longer than clients keep theirs, so that these close first."""
STOP_SECONDS = 1
"""For calls in flight when the server ends; clients' streams for notifications would stay open for ever."""


class Guard:
    """Lets nobody in but who shows the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._wanted = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            shown = Headers(scope=scope).get("authorization", "")
            if not hmac.compare_digest(shown.encode(), self._wanted):
                app = PlainTextResponse(
                    "this server wants its token: the header Authorization: Bearer TOKEN",
                    status_code=401,
                    headers={"WWW-Authenticate": "Bearer"},
                )
        await app(scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn, but for its handling of signals: it would raise them again before the tools are closed."""

    capture_signals = staticmethod(contextlib.nullcontext)  # type: ignore[assignment]


@contextlib.asynccontextmanager
async def running(server: Server[Any], settings: ServeMcp) -> AsyncIterator[str]:
    """The server at its URL; afterwards its sessions are closed. Raises ConfigError."""
    token = find_token(settings.token, settings.token_env, settings.token_file)
    with _listen(settings, token) as listener:
        app: ASGIApp = server.streamable_http_app(host=settings.host, max_sessions=MAX_SESSIONS)
        config = uvicorn.Config(
            Guard(app, token) if token else app,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        http = _Server(config)
        serving = asyncio.create_task(http.serve([listener]))
        try:
            host, port = listener.getsockname()[:2]
            yield f"http://[{host}]:{port}/mcp" if ":" in host else f"http://{host}:{port}/mcp"
        finally:
            http.should_exit = True
            await serving


def _listen(settings: ServeMcp, token: str) -> socket.socket:
    """A listening socket; raises ConfigError, also for an address beyond this machine without a token."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        if not token and not ipaddress.ip_address(address[0]).is_loopback:
            raise ConfigError(
                f"host={settings.host} can be reached from other machines, and whoever reaches it calls these "
                "tools: give a token_file, token_env or token"
            )
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ConfigError(f"host={settings.host} port={settings.port}: {error.strerror}") from error
