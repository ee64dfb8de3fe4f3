"""A proxy before a search server, which does to each request what it is told: nothing, or harm."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

FAULTS = ("hang", "garbage", "shape", "fewer", "truncate", "close", "500", "429", "503")
"""hang: no answer ever. garbage: no JSON. shape: JSON of another kind. fewer: the last query's hits are left out.
truncate: half of the answer. close: nothing at all. The others are statuses."""
SLOWLY = "slowly"
"""Passed on right, but only after a while."""
DELAY = 0.3
EMPTY = "empty"
"""The right form, and nothing found in it."""


def now_and_then(share: float, seed: int, faults: tuple[str, ...] = (*FAULTS, SLOWLY)) -> Callable[[], str]:
    """Tells a proxy to do each of `faults` to that share of the requests."""
    rng = random.Random(seed)
    weights = [share] * len(faults) + [1 - share * len(faults)]
    return lambda: rng.choices([*faults, ""], weights)[0]


def in_order(*faults: str) -> Callable[[], str]:
    """Tells a proxy what to do to the first requests, and no harm after those."""
    rest = list(faults)
    return lambda: rest.pop(0) if rest else ""


class FaultyProxy:
    """upstream: the server's URL. next_fault: asked for each POST; empty for none. done: how often what
    was done."""

    def __init__(self, upstream: str, next_fault: Callable[[], str]) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname, parts.port
        self._next_fault = next_fault
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.done: Counter[str] = Counter()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._tasks)

    async def __aenter__(self) -> FaultyProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._pass(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client is gone, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; False when the connection is to be closed."""
        request = await _read(reader)
        fault = self._next_fault() if request.startswith(b"POST") else ""
        self.done[fault] += 1
        if fault == "hang":
            await reader.read()  # until the client gives up
            return False
        if fault == SLOWLY:
            await asyncio.sleep(DELAY)
        harmed = _harm(fault, await self._forward(request))
        writer.write(harmed)
        await writer.drain()
        return fault not in ("truncate", "close")

    async def _forward(self, request: bytes) -> bytes:
        """The server's answer; a gateway's where there is no server."""
        try:
            reader, writer = await asyncio.open_connection(*self._upstream)
        except ConnectionError:
            return _answer(502, b"no server")
        try:
            writer.write(request)
            return await _read(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return _answer(502, b"the server broke off")
        finally:
            writer.close()


def _harm(fault: str, answer: bytes) -> bytes:
    """What the client gets in place of an answer."""
    if fault == "garbage":
        return _answer(200, b"<html>\xff\xfe it works! </html>")
    if fault == "shape":
        return _answer(200, b'{"result": [{"document": "none"}]}')
    if fault == "fewer" and answer.startswith(b"HTTP/1.1 200"):
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        return _answer(200, json.dumps({"result": body["result"][:-1]}).encode())
    if fault == EMPTY and answer.startswith(b"HTTP/1.1 200"):
        return _answer(200, b'{"result": [[]]}')  # for one query
    if fault == "truncate":
        return answer[: len(answer) // 2]
    if fault == "close":
        return b""
    return _answer(int(fault), b"as it was told") if fault.isdecimal() else answer


def _answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d Told\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """A whole message."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return head + (await reader.readexactly(int(length[1])) if length else b"")
