"""A server of OpenAI's chat completions on this machine: answers by a script, and writes down what it is asked."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentgym.serving.loop import serving

Answer = str | Response
"""Text for each of the choices that were asked for, or a whole response."""


def error(status: int, message: str = "no", after_ms: int = 1) -> Response:
    """As OpenAI words it; retry-after-ms keeps the client from waiting."""
    headers = {"retry-after-ms": str(after_ms)}
    return JSONResponse({"error": {"message": message}}, status_code=status, headers=headers)


class Cut(Response):
    """Half of a body, and then the connection is gone."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"choices": [', "more_body": False})


@dataclass
class Server:
    """script: makes the answer to a request from its body. tokens: what a prompt and a choice are said to use.
    hold: requests wait for it. most: requests that were under way at once. busy: set once there were three."""

    script: Callable[[dict[str, Any]], Answer] = lambda body: "hello"
    tokens: tuple[int, int] | None = (10, 5)
    max_n: int = 128
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    now: int = 0
    most: int = 0

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization", ""))
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now >= 3:
            self.busy.set()
        try:
            if self.hold is not None:
                await self.hold.wait()
            return self._respond(body)
        finally:
            self.now -= 1

    def _respond(self, body: dict[str, Any]) -> Response:
        n = min(body.get("n", 1), self.max_n)
        choices = []
        for index in range(n):
            said = self.script(body)
            if isinstance(said, Response):
                return said
            message = {"role": "assistant", "content": said}
            choices.append({"index": index, "message": message, "finish_reason": "stop"})
        usage = None
        if self.tokens:
            prompt, completion = self.tokens[0], self.tokens[1] * n
            usage = {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }
        whole = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
        return JSONResponse({**whole, "usage": usage})

    def prompts(self) -> list[str]:
        """The last message of each request."""
        return [body["messages"][-1]["content"] for body in self.requests]


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    app = Starlette(routes=[Route("/v1/chat/completions", server.answer, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(app, listener) as url:
            server.url = f"{url}/v1"
            yield server


def verdict(score: Any, reason: str = "because") -> str:
    return json.dumps({"reason": reason, "score": score})
