"""Keeps out whoever does not know the token, and web pages."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from agentgym.serving.answer import answer


class TokenGuard:
    """Lets nobody but who shows the token go further than `/health`: as a bearer token or, for clients that can be
    given no more than a URL, as the password in it. Without a token (empty) everybody but web pages, which reach
    this machine through their reader's browser. refused: called for each who is sent away."""

    def __init__(self, app: ASGIApp, token: str, refused: Callable[[], None]) -> None:
        self._app, self._wanted, self._refused = app, token.encode(), refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        shown = headers.get("authorization", "")
        if hmac.compare_digest(_read(shown), self._wanted) if self._wanted else "origin" not in headers:
            await self._app(scope, receive, send)
            return
        self._refused()
        if self._wanted:
            seen = "another" if shown else "none"
            wants = f"this server wants its token (AGENTGYM_TOKEN, token or token_file) and was shown {seen}"
        else:
            wants = "this server has no token, and then answers no web pages"
        refusal = answer({"error": "denied", "detail": wants}, 401 if self._wanted else 403)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)


def _read(authorization: str) -> bytes:
    """The token in the header; empty where there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme == "Bearer":
        return value.encode()
    if scheme != "Basic":
        return b""
    try:
        return base64.b64decode(value).partition(b":")[2]
    except binascii.Error:
        return b""
