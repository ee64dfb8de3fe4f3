"""The HTTP side of a retriever's server: requests to searches, hits to answers.

It is plain ASGI: a search takes a fraction of a millisecond, and a framework's routes would take as long again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from agentgym.errors import ToolFailed, ToolTimeout
from agentgym.retriever import Retriever
from agentgym.retrievers.serving.metrics import RetrieverMetrics
from agentgym.retrievers.serving.settings import ServeRetriever
from agentgym.retrievers.wire import PATH, Asked, to_answer
from agentgym.serving.answer import RETRY_AFTER
from agentgym.serving.metrics import MEDIA_TYPE
from agentgym.serving.token_guard import TokenGuard

JSON = b"application/json"


class Refusal(Exception):
    """A request that is not answered with hits. status: of HTTP. reason: in a word."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason = status, reason


class Disconnected(Exception):
    """The client is gone before its request was complete."""


class Answer(NamedTuple):
    """What is sent back."""

    body: bytes
    status: int = 200
    kind: bytes = JSON

    async def send(self, send: Send) -> None:
        headers = [(b"content-type", self.kind), (b"content-length", b"%d" % len(self.body))]
        if self.status in (429, 503):
            headers.append((b"retry-after", b"%d" % RETRY_AFTER))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def make_app(retriever: Retriever, settings: ServeRetriever, token: str, metrics: RetrieverMetrics) -> ASGIApp:
    """The application. token: empty for none."""
    app = App(retriever, settings, metrics)
    metrics.watch("requests_open", "Requests that are worked on.", lambda: app.open)
    return TokenGuard(app, token, metrics.refusals.labels("denied").inc)


class App:
    """open: requests that are worked on."""

    def __init__(self, retriever: Retriever, settings: ServeRetriever, metrics: RetrieverMetrics) -> None:
        self._retriever, self._settings, self._metrics = retriever, settings, metrics
        self._decoder = msgspec.json.Decoder(Asked)
        self._routes: dict[tuple[str, str], Callable[[Receive], Awaitable[Answer]]] = {
            (PATH, "POST"): self._retrieve,
            ("/health", "GET"): self._health,
            ("/metrics", "GET"): self._read_metrics,
        }
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._route(scope["path"], scope["method"])(receive)
        except Refusal as refusal:
            answer = self._refuse(refusal)
        except Disconnected:
            return
        await answer.send(send)

    def _route(self, path: str, method: str) -> Callable[[Receive], Awaitable[Answer]]:
        route = self._routes.get((path, method))
        if route is not None:
            return route
        methods = [wanted for where, wanted in self._routes if where == path]
        if methods:
            raise Refusal(405, "request", f"{path} wants {methods[0]}, not {method}")
        known = ", ".join(where for where, _ in self._routes)
        raise Refusal(404, "request", f"there is no {path}; there are {known}")

    async def _retrieve(self, receive: Receive) -> Answer:
        began, status = time.perf_counter(), "500"
        try:
            answer = Answer(await self._within_limits(receive))
            status = "200"
            return answer
        except Refusal as refusal:
            status = str(refusal.status)
            raise
        finally:
            self._metrics.requests.labels(status).inc()
            self._metrics.seconds.observe(time.perf_counter() - began)

    async def _within_limits(self, receive: Receive) -> bytes:
        """The body of the answer, in time."""
        if self.open >= self._settings.max_requests:
            raise Refusal(429, "busy", f"{self.open} requests are worked on, the most this server allows")
        seconds = self._settings.timeout
        deadline = asyncio.timeout(seconds)
        self.open += 1
        try:
            async with deadline:
                asked = self._read(await self._body(receive))
                return await self._search(asked)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise Refusal(503, "late", f"there was no answer within {seconds:g} s") from error
        finally:
            self.open -= 1

    async def _body(self, receive: Receive) -> bytearray:
        data, limit = bytearray(), self._settings.max_body
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            data += message.get("body", b"")
            if len(data) > limit:
                raise Refusal(413, "too_large", f"a request may have {limit} bytes here")
            if not message.get("more_body", False):
                return data

    def _read(self, body: bytearray) -> Asked:
        """What is asked for, in numbers that are allowed."""
        try:
            asked = self._decoder.decode(body)
        except ValueError as error:
            raise Refusal(400, "request", f"the body is not what was expected: {error}") from error
        settings = self._settings
        if asked.topk is None:
            asked.topk = settings.topk
        if not 0 < asked.topk <= settings.max_topk:
            raise Refusal(422, "request", f"topk: {asked.topk}; this server allows 1 to {settings.max_topk}")
        if len(asked.queries) > settings.max_queries:
            most = f"this server allows {settings.max_queries} a request"
            raise Refusal(422, "request", f"queries: {len(asked.queries)}; {most}")
        return asked

    async def _search(self, asked: Asked) -> bytes:
        assert asked.topk is not None, "it has been read"
        if not asked.queries:
            return to_answer([], asked.return_scores)
        self._metrics.queries.inc(len(asked.queries))
        self._metrics.sizes.observe(len(asked.queries))
        try:
            found = await self._retriever.search(asked.queries, asked.topk)
        except ToolTimeout as error:
            raise Refusal(503, "late", str(error)) from error
        except ToolFailed as error:
            raise Refusal(500, "failed", str(error)) from error
        return to_answer(found, asked.return_scores)

    async def _health(self, receive: Receive) -> Answer:
        return _json({"status": "ok", "retriever": self._retriever.description})

    async def _read_metrics(self, receive: Receive) -> Answer:
        return Answer(self._metrics.text(), kind=MEDIA_TYPE.encode())

    def _refuse(self, refusal: Refusal) -> Answer:
        self._metrics.refusals.labels(refusal.reason).inc()
        return _json({"error": refusal.reason, "detail": str(refusal)}, refusal.status)


def _json(body: Any, status: int = 200) -> Answer:
    return Answer(msgspec.json.encode(body), status)
