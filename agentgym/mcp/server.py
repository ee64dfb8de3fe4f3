"""Our tools as an MCP server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp import MCPError
from mcp.server import Server
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

import agentgym
from agentgym.config import Spec
from agentgym.errors import AgentgymError
from agentgym.services import Services
from agentgym.tool import Call, ToolContext, ToolSpec

if TYPE_CHECKING:
    from agentgym.tooling.toolbox import Toolbox

    OpenToolbox = Callable[[ToolContext], Coroutine[Any, Any, Toolbox]]

Request = ServerRequestContext[Any, Any]
OPENING = "agentgym toolbox"
"""Where a connection keeps the task that opens its client's tools."""


class ToolServer:
    """Answers each client with tools of its own, which live as long as its session."""

    def __init__(self, open_toolbox: OpenToolbox, services: Services, sandbox: Spec) -> None:
        self._open_toolbox, self._services, self._sandbox = open_toolbox, services, sandbox
        self.server: Server[Any] = Server(
            "agentgym", version=agentgym.__version__, on_list_tools=self._list, on_call_tool=self._call
        )
        self.server.middleware.append(_sessions_only)

    async def _list(self, request: Request, _: object) -> types.ListToolsResult:
        try:
            toolbox = await self._toolbox(request)
        except AgentgymError as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from error
        return types.ListToolsResult(tools=[_listed(spec) for spec in toolbox.specs])

    async def _call(self, request: Request, wish: types.CallToolRequestParams) -> types.CallToolResult:
        """Whatever fails is told as the tool's error: clients show that to their model, and go on."""
        try:
            toolbox = await self._toolbox(request)
            async with _turn(request, wish.name) if toolbox.ordered(wish.name) else nullcontext():
                [result] = await toolbox.run([Call(wish.name, wish.arguments or {})])
        except AgentgymError as error:
            return _answer(f"{type(error).__name__}: {error}", ok=False)
        return _answer(result.output, result.ok)

    async def _toolbox(self, request: Request) -> Toolbox:
        connection: Connection = request.session._connection  # the SDK gives no other way to a session's end
        opening: asyncio.Task[Toolbox] | None = connection.state.get(OPENING)
        if opening is None or (opening.done() and opening.exception()):
            context = ToolContext(self._services, sandbox_config=self._sandbox)
            opening = asyncio.create_task(self._open_toolbox(context))
            connection.state[OPENING] = opening
            connection.exit_stack.push_async_callback(_close, opening)
        return await asyncio.shield(opening)  # a request that is cancelled does not take the others' tools along


def _turn(request: Request, tool: str) -> asyncio.Lock:
    """Held during a call of a tool with state: one after the other, as they came from the client."""
    connection: Connection = request.session._connection
    turn: asyncio.Lock = connection.state.setdefault(f"agentgym turn {tool}", asyncio.Lock())
    return turn


async def _close(opening: asyncio.Task[Toolbox]) -> None:
    opening.cancel()
    await asyncio.wait({opening})
    if not opening.cancelled() and not opening.exception():
        await opening.result().close()


async def _sessions_only(ctx: Request, call_next: CallNext) -> HandlerResult:
    """Refuse protocol versions without sessions; clients fall back to one that has them."""
    if ctx.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        data = types.UnsupportedProtocolVersionErrorData(
            supported=list(HANDSHAKE_PROTOCOL_VERSIONS), requested=ctx.protocol_version
        )
        text = "these tools hold state, and need a protocol version with sessions"
        raise MCPError(types.UNSUPPORTED_PROTOCOL_VERSION, text, data.model_dump(mode="json"))
    return await call_next(ctx)


def _listed(spec: ToolSpec) -> types.Tool:
    return types.Tool(name=spec.name, description=spec.description, input_schema=dict(spec.parameters))


def _answer(text: str, ok: bool) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=not ok)
