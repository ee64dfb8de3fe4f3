"""Offers our tools to MCP clients until they, or who started us, have enough."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server

from agentgym.mcp.http import running
from agentgym.mcp.server import ToolServer
from agentgym.mcp.settings import STDIO, ServeMcp
from agentgym.services import Services

if TYPE_CHECKING:
    from agentgym.mcp.server import OpenToolbox


async def serve_mcp(open_toolbox: OpenToolbox, settings: ServeMcp, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, and over stdin and stdout until the client leaves. open_toolbox: a new
    client's tools. say: told the address, where there is one. Raises ConfigError."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with Services() as services:
        tools = ToolServer(open_toolbox, services, settings.sandbox)
        if settings.port == STDIO:
            gone = await _serve_stdio(tools, stop)
        else:
            async with running(tools.server, settings) as url:
                say(f"MCP at {url}")
                await stop.wait()
            gone = True
    if not gone:
        os._exit(0)  # a thread of the SDK's reads from stdin, and nothing but the client can end that


async def _serve_stdio(tools: ToolServer, stop: asyncio.Event) -> bool:
    """Serve the one client; whether it is gone."""

    async def speak() -> None:
        async with stdio_server() as (read, write):
            await serve_loop(tools.server, read, write, lifespan_state={})

    speaking, stopping = asyncio.create_task(speak()), asyncio.create_task(stop.wait())
    await asyncio.wait({speaking, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if speaking.done():
        speaking.result()
    return speaking.done()
