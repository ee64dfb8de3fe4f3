"""Runs a sandbox server until it is told to stop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from agentgym.config import build
from agentgym.sandbox import SandboxConfig
from agentgym.sandboxes.serving.app import make_app
from agentgym.sandboxes.serving.metrics import SandboxMetrics
from agentgym.sandboxes.serving.sessions import Sessions
from agentgym.sandboxes.serving.settings import Serve
from agentgym.serving.loop import serve_until_told, serving


@contextlib.asynccontextmanager
async def running(settings: Serve) -> AsyncIterator[str]:
    """A server; its URL. Afterwards its sessions are closed. Raises ConfigError, SandboxError."""
    token = settings.find_token()
    sandbox: SandboxConfig = build("sandbox", settings.sandbox)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(settings.listen())
        host = await sandbox.open()
        stack.push_async_callback(host.close)
        metrics = SandboxMetrics()
        sessions = Sessions(host, settings, metrics)
        url = await stack.enter_async_context(
            serving(make_app(sandbox, sessions, settings, token, metrics), listener)
        )
        stack.push_async_callback(sessions.shut_down)  # calls in flight are answered: connections can close
        yield url


async def serve(settings: Serve, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. say: told the address."""
    await serve_until_told(running(settings), say)
