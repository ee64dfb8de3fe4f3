"""The two ways to a server, as the SDK's transports."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx2
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp.shared.message import SessionMessage

from agentgym.mcp.variables import filled_in

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, TransportStreams

    from agentgym.mcp.address import Address

CONNECT_SECONDS = 10.0
KEEP_ALIVE = 2.0
"""Seconds that an idle connection is kept: less than servers do, for a request on one that the server closes just
then takes the whole session with it."""
TAIL = 4096
"""Bytes of a server's stderr that are kept."""
LAST_WORDS_SECONDS = 0.5


class Reading:
    """What the session reads from; `over` is set when it has read the last of it."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], over: asyncio.Event) -> None:
        self._stream, self._over = stream, over

    async def receive(self) -> SessionMessage | Exception:
        return await self._stream.receive()

    async def aclose(self) -> None:
        self._over.set()
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return await self._stream.__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Stderr(asyncio.Protocol):
    """The last of what a server said on stderr."""

    def __init__(self) -> None:
        self._last = b""
        self._ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._last = (self._last + data)[-TAIL:]

    def connection_lost(self, error: Exception | None) -> None:
        self._ended.set()

    @property
    def text(self) -> str:
        return self._last.decode(errors="replace").strip()

    async def read_to_the_end(self) -> None:
        """Wait for the end, though not for a process that the server left behind with its stderr open."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._ended.wait()


@asynccontextmanager
async def connect(
    server: Address, stderr: Stderr, over: asyncio.Event, forgotten: Callable[[], None]
) -> AsyncIterator[TransportStreams]:
    """The SDK's transport to a server. over: set when nothing more comes from it. forgotten: called when it says
    that it knows nothing of our session."""
    async with _remote(server, forgotten) if server.url else _program(server, stderr) as (read, write):
        yield Reading(read, over), write


@asynccontextmanager
async def _program(server: Address, stderr: Stderr) -> AsyncIterator[TransportStreams]:
    env, cwd = filled_in(server.env), server.cwd or None
    parameters = StdioServerParameters(command=server.command, args=list(server.args), env=env, cwd=cwd)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as errlog:
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: stderr, os.fdopen(reading, "rb"))
        with contextlib.closing(pipe):
            try:
                async with stdio_client(parameters, errlog=errlog) as streams:
                    errlog.close()  # the server's own is the only one left, and so its end is the pipe's
                    yield streams
            finally:
                errlog.close()
                await stderr.read_to_the_end()


@asynccontextmanager
async def _remote(server: Address, forgotten: Callable[[], None]) -> AsyncIterator[TransportStreams]:
    async def look(response: httpx2.Response) -> None:
        if response.status_code == 404 and MCP_SESSION_ID in response.request.headers:
            forgotten()

    client = httpx2.AsyncClient(
        headers=filled_in(server.headers),
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),  # each call has a deadline of its own
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEP_ALIVE),
        event_hooks={"response": [look]},
    )
    async with client, streamable_http_client(server.url, http_client=client) as streams:
        yield streams
