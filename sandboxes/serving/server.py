"""Runs a sandbox server until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable

import uvicorn
from starlette.types import ASGIApp

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.sandbox import SandboxConfig
from agentgym.sandboxes.remote.token import find_token
from agentgym.sandboxes.serving.app import make_app
from agentgym.sandboxes.serving.metrics import Metrics
from agentgym.sandboxes.serving.sessions import Sessions
from agentgym.sandboxes.serving.settings import Serve

KEEP_ALIVE = 60
"""Seconds that an idle connection stays open; longer than clients keep theirs, so that these close first."""
MAX_CONNECTIONS = 8192
STOP_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn, but for its handling of signals: it would raise them again before the sandbox is closed."""

    capture_signals = staticmethod(contextlib.nullcontext)  # type: ignore[assignment]


@contextlib.asynccontextmanager
async def running(settings: Serve) -> AsyncIterator[str]:
    """A server; its URL. Afterwards its sessions are closed. Raises ConfigError, SandboxError."""
    token = find_token(settings.token, settings.token_env, settings.token_file)
    sandbox: SandboxConfig = build("sandbox", settings.sandbox)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(_listen(settings))
        host = await sandbox.open()
        stack.push_async_callback(host.close)
        metrics = Metrics()
        sessions = Sessions(host, settings, metrics)
        server = _Server(_configure(make_app(sandbox, sessions, settings, token, metrics)))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield _url(listener)
        finally:
            await sessions.shut_down()  # calls in flight are answered, and so the connections can close
            server.should_exit = True
            await serving


def _configure(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


async def serve(settings: Serve, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. say: told the address."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with running(settings) as url:
        say(f"serving at {url}")
        await stop.wait()


def _listen(settings: Serve) -> socket.socket:
    """A listening socket; raises ConfigError, also for an address beyond this machine without a token."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
    except OSError as error:
        raise ConfigError(f"host={settings.host}: {error.strerror}") from error
    open_to_all = not (settings.token or settings.token_env or settings.token_file)
    if open_to_all and not ipaddress.ip_address(address[0]).is_loopback:
        raise ConfigError(
            f"host={settings.host} can be reached from other machines, and whoever reaches it runs code here: "
            "give a token_file, token_env or token"
        )
    try:
        listener = socket.create_server(address[:2], family=family)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections inherit it: 40 ms a call
        return listener
    except OSError as error:
        raise ConfigError(f"host={settings.host} port={settings.port}: {error.strerror}") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
