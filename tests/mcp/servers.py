"""Starts the servers of these tests, and their tools."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentgym.mcp.toolset import mcp_toolset
from agentgym.services import Services
from agentgym.tool import Tool, ToolContext
from tests.free_port import free_port

SERVER = str(Path(__file__).with_name("server.py"))
WAYS = ("stdio", "http", "http handshake")
"""How to speak with a server: the transport, and protocol versions with sessions or without."""


class Episode:
    """A server's tools in one episode."""

    def __init__(self, tools: list[Tool], services: Services) -> None:
        self.tools = {tool.spec.name: tool for tool in tools}
        self.context = ToolContext(services)

    async def call(self, name: str, /, **arguments: Any) -> str:
        return await self.tools[name].call(arguments, self.context)


async def episode(services: Services, **table: Any) -> Episode:
    """A new one."""
    return Episode(list(await mcp_toolset({"name": "mcp", **table}).open(services)), services)


@asynccontextmanager
async def program(port: int, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that listens at a port, once it does."""
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    try:
        async with asyncio.timeout(60):
            while not await answers(port):
                assert process.returncode is None, "the server ended"
                await asyncio.sleep(0.02)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@asynccontextmanager
async def reachable(way: str) -> AsyncIterator[dict[str, Any]]:
    """The test server, spoken with in that way; the table that configures it."""
    transport, *era = way.split()
    if transport == "stdio":
        yield {"command": sys.executable, "args": [SERVER, *era]}
        return
    port = free_port()
    async with program(port, SERVER, *era, "http", str(port)):
        yield {"url": f"http://127.0.0.1:{port}/mcp"}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes true in another process."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)
