"""One connection with an MCP server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp import Client, MCPError
from mcp.client.subscriptions import SubscriptionLost
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

import agentgym
from agentgym.errors import ToolError, ToolFailed
from agentgym.mcp.listing import Listing
from agentgym.mcp.transport import Stderr, connect

if TYPE_CHECKING:
    from agentgym.mcp.address import Address

log = logging.getLogger(__name__)
# Of a server that floods its stdout it would print a traceback a line; `_hear` says it once.
logging.getLogger("mcp.client.stdio").setLevel(logging.CRITICAL)

CLOSE_SECONDS = 15.0
"""For a server to end, or to be killed: more than the SDK takes for it."""


class Forgotten(Exception):
    """The server knows nothing of this session, and has not looked at the call."""


class Session:
    """The SDK's client, in a task of its own: its contexts have to be left by the task that entered them."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self._client: Client
        self._stderr = Stderr()
        self._over, self._settled = asyncio.Event(), asyncio.Event()
        self._failure = ""
        self._calls = 0
        self._forgotten = self._noisy = False
        self._listing = Listing(str(server))
        self._task = asyncio.create_task(self._run(), name=f"mcp {server}")

    @classmethod
    async def open(cls, server: Address) -> Session:
        """A session that has listed its tools. Raises ToolFailed; nothing is left of it then."""
        session = cls(server)
        try:
            await session._settled.wait()
        except BaseException:
            await session.close()
            raise
        if session._failure:
            raise ToolFailed(session._failure)
        return session

    @property
    def over(self) -> bool:
        """True when it is good for no further call."""
        return self._forgotten or self._over.is_set()

    @property
    def ended(self) -> bool:
        """True when nothing of it is left."""
        return self._task.done()

    async def close(self) -> None:
        """End it, and the server's process; may be called twice. Calls in flight fail."""
        self._over.set()
        if not self._settled.is_set():
            self._task.cancel()
        _, late = await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
        if late:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)

    async def tools(self) -> Mapping[str, types.Tool]:
        """The server's tools by name, listed again after it has said that they changed. Raises ToolFailed."""
        return await self._listing.tools(self._client)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """The tool's result. Cancelling tells the server. Raises ToolError, ToolFailed and Forgotten."""
        self._calls += 1
        try:
            return await self._client.call_tool(name, dict(arguments))
        except MCPError as error:
            if error.code == types.INVALID_PARAMS:
                raise ToolError(error.message) from error
            if self._forgotten and error.code == types.INVALID_REQUEST:
                raise Forgotten from error
            raise ToolFailed(self._quoting(f"tool {name!r} of {self._server}: {error.message}")) from error
        except (ValueError, RuntimeError) as error:  # the answer is none, or does not fit the tool's own schema
            raise ToolFailed(f"tool {name!r} of {self._server}: {error}") from error
        finally:
            self._calls -= 1
            if self._forgotten and not self._calls:
                self._over.set()

    async def _run(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._server.start_timeout) as deadline:
                    transport = connect(self._server, self._stderr, self._over, self._forget)
                    info = types.Implementation(name="agentgym", version=agentgym.__version__)
                    client = Client(transport, message_handler=self._hear, client_info=info, cache=None)
                    self._client = await stack.enter_async_context(client)
                    await self.tools()
                self._settled.set()
                await self._until_over()
        except Exception as error:  # the SDK raises whatever its tasks raised, in groups
            late = f"it gave no answer within {self._server.start_timeout:g} s" if deadline.expired() else ""
            self._failure = self._quoting(f"MCP server {self._server}: {late or _reason(error)}")
            if self._settled.is_set():
                log.warning("%s", self._failure)
        finally:
            self._over.set()
            self._settled.set()

    async def _until_over(self) -> None:
        capabilities = self._client.server_capabilities.tools
        modern = self._client.protocol_version in MODERN_PROTOCOL_VERSIONS
        if not (modern and capabilities and capabilities.list_changed):
            await self._over.wait()
            return
        listening = asyncio.create_task(self._listen())
        try:
            await self._over.wait()
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _listen(self) -> None:
        """From protocol 2026-07-28 on, servers speak of changes only to who has asked for it."""
        try:
            async with self._client.listen(tools_list_changed=True) as changes:
                self._listing.stale = True  # for what changed before
                async for _ in changes:
                    pass  # `_hear` is told as well
        except (MCPError, SubscriptionLost) as error:
            log.info("%s no longer says when its tools change: %s", self._server, error)
        self._over.set()

    async def _hear(self, message: types.ServerNotification | Exception) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._listing.stale = True
        elif isinstance(message, Exception) and not self._noisy:
            self._noisy = True
            log.warning("%s writes other things than messages to its stdout; they are left out", self._server)

    def _forget(self) -> None:
        self._forgotten = True

    def _quoting(self, text: str) -> str:
        """The text, and what the server said last on stderr."""
        return f"{text}. It said last:\n{self._stderr.text}" if self._stderr.text else text


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
