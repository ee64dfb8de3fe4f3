"""A server for tests, made with the official SDK: `server.py [handshake] [http PORT]`.

With `handshake` it speaks the protocol versions that have sessions only, as most servers do.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path

from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp_types import (
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolResult,
    ImageContent,
    TextContent,
    ToolAnnotations,
    UnsupportedProtocolVersionErrorData,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

server = MCPServer("test", log_level="CRITICAL")
notes: list[str] = []
running = 0
most = 0


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def square(number: int) -> str:
    """Square a number."""
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(0.05)  # so that calls meet
    running -= 1
    return str(number * number)


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def most_at_once() -> str:
    """How many calls of square ran at the same time."""
    return str(most)


@server.tool()
async def write(note: str) -> str:
    """Add a note."""
    notes.append(note)
    return f"{len(notes)} notes"


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def read() -> str:
    """All notes."""
    return ", ".join(notes) or "no notes"


@server.tool()
async def hang(file: str) -> str:
    """Never answer; write to the file when told to stop."""
    note = Path(file).write_text
    note("begun")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("cancelled")
        raise
    return "never"


@server.tool()
async def crash() -> str:
    """End the process."""
    print("the last words", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
async def fail() -> str:
    """Refuse."""
    raise ValueError("seven is no vowel")


@server.tool()
async def picture() -> CallToolResult:
    """A text and an image."""
    image = ImageContent(type="image", data=base64.b64encode(b"12345").decode(), mimeType="image/png")
    return CallToolResult(content=[TextContent(type="text", text="look:"), image])


@server.tool()
async def record() -> CallToolResult:
    """A structured answer without content."""
    return CallToolResult(content=[], structuredContent={"name": "Ada", "age": 36})


@server.tool()
async def grow(name: str, context: Context) -> str:
    """Begin to offer a tool of that name, and take square back."""

    async def grown() -> str:
        """Grown at run time."""
        return f"{name} answers"

    server.add_tool(grown, name=name)
    server.remove_tool("square")
    await context.notify_tools_changed()
    await context.session.send_tool_list_changed()
    return "grown"


@server.tool()
async def flood(lines: int) -> str:
    """Write what is no message to the pipe that messages go through."""
    text = b"this is no message {]\n" * 100
    for _ in range(lines // 100):
        os.write(wire, text)
    return "done"


async def only_handshake(context, call_next):
    if context.method == "server/discover" or context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        data = UnsupportedProtocolVersionErrorData(
            supported=list(HANDSHAKE_PROTOCOL_VERSIONS), requested=context.protocol_version
        )
        raise MCPError(UNSUPPORTED_PROTOCOL_VERSION, "only handshakes", data.model_dump(mode="json"))
    return await call_next(context)


async def handshake_on_stdio() -> None:
    async with stdio_server() as streams:
        await serve_loop(server._lowlevel_server, *streams, lifespan_state={})


if __name__ == "__main__":
    wire = os.dup(1)  # before the SDK points stdout elsewhere
    words = sys.argv[1:]
    if "http" in words:
        if "handshake" in words:
            server._lowlevel_server.middleware.append(only_handshake)
        server.run("streamable-http", port=int(words[words.index("http") + 1]))
    elif "handshake" in words:
        asyncio.run(handshake_on_stdio())
    else:
        server.run("stdio")
