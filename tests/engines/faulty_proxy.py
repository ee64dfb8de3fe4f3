"""A proxy before an HTTP server that fails at random, in the ways in which servers and networks fail."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK = b'data: {"choices": [{"delta": {"content": "<say>9"}}]}\n\n'
_LAST = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'


def _whole(status: str, body: bytes, headers: bytes = b"") -> bytes:
    size = b"content-length: %d\r\nconnection: close\r\n" % len(body)
    return (
        b"HTTP/1.1 "
        + status.encode()
        + b"\r\ncontent-type: application/json\r\n"
        + headers
        + size
        + b"\r\n"
        + body
    )


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


FAULTS = {
    "429": _whole("429 Too Many Requests", b'{"error": {"message": "slow down"}}', b"retry-after: 0.05\r\n"),
    "500": _whole("500 Internal Server Error", b"oops"),
    "503": _whole("503 Service Unavailable", b"<html>no</html>", b"retry-after-ms: 20\r\n"),
    "drop": b"",
    "cut header": b"HTTP/1.1 200 O",
    "cut stream": _STREAM + _chunked(_CHUNK),
    "no end": _STREAM + _chunked(_CHUNK) + b"0\r\n\r\n",
    "no end after the finish": _STREAM + _chunked(_CHUNK + _LAST) + b"0\r\n\r\n",
    "no finish": _STREAM + _chunked(_CHUNK + b"data: [DONE]\n\n") + b"0\r\n\r\n",
    "error in stream": _STREAM
    + _chunked(_CHUNK + b'data: {"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n')
    + b"0\r\n\r\n",
    "wrong JSON": _whole("200 OK", b'{"choices": ['),
    "other JSON": _whole("200 OK", b'{"detail": "odd"}'),
    "no choices": _whole("200 OK", b'{"choices": []}'),
    "a page": _whole("200 OK", b"<html>welcome</html>"),
}
"""What comes instead of an answer, after which the connection is closed. `hang` is silence."""


@dataclass
class FaultyProxy:
    """share: of the requests that fail. hangs: of the first requests never answered; after that none hang."""

    upstream: str
    share: float
    seed: int
    hangs: int = 0
    url: str = ""
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._serving: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End the connections that are left."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            sizes = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            request = head + await reader.readexactly(int(sizes[0].split(b":")[1]))
            if self.hangs:
                self.hangs -= 1
                self.met["hang"] += 1
                await reader.read()  # until the client gives up
            elif self._random.random() < self.share:
                fault = self._random.choice(list(FAULTS))
                self.met[fault] += 1
                writer.write(FAULTS[fault])
                await writer.drain()
            else:
                await self._forward(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # whoever was there has gone
        finally:
            writer.close()

    async def _forward(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        where = urlsplit(self.upstream)
        answers, asks = await asyncio.open_connection(where.hostname, where.port)
        try:
            asks.write(request.replace(b"onnection: keep-alive", b"onnection: close", 1))
            while part := await answers.read(65536):
                writer.write(part)
                await writer.drain()
        finally:
            asks.close()


@asynccontextmanager
async def faulty(upstream: str, share: float, seed: int, hangs: int = 0) -> AsyncIterator[FaultyProxy]:
    """A proxy before `upstream`."""
    proxy = FaultyProxy(upstream, share, seed, hangs)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, backlog=1024)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()
        await proxy.close()
