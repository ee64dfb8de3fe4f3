"""Keeps out whoever does not know the token."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from agentgym.sandboxes.remote.wire import Problem, to_json
from agentgym.sandboxes.serving.answer import answer
from agentgym.sandboxes.serving.metrics import Metrics


class TokenGuard:
    """Lets nobody but who shows the token go further than `/health`."""

    def __init__(self, app: ASGIApp, token: str, metrics: Metrics) -> None:
        self._app, self._wanted, self._metrics = app, f"Bearer {token}".encode(), metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] != "/health":
            shown = Headers(scope=scope).get("authorization", "")
            if not hmac.compare_digest(shown.encode(), self._wanted):
                self._metrics.refusals.labels("denied").inc()
                seen = "another" if shown else "none"
                wants = f"this server wants its token (AGENTGYM_TOKEN, token or token_file) and was shown {seen}"
                status, body = to_json(Problem("denied", wants))
                app = answer(body, status)
        await app(scope, receive, send)
