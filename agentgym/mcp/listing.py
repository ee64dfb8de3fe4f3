"""What tools an MCP server has, as it said last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import mcp_types as types
from mcp import Client, MCPError

from agentgym.errors import ToolFailed

PAGES = 100
"""A listing may have."""


class Listing:
    """stale: whether the server has to be asked again."""

    def __init__(self, server: str) -> None:
        self.stale = True
        self._server = server
        self._tools: dict[str, types.Tool] = {}
        self._asking = asyncio.Lock()

    async def tools(self, client: Client) -> Mapping[str, types.Tool]:
        """The tools by name. Raises ToolFailed."""
        async with self._asking:
            while self.stale:
                self.stale = False  # before the server is asked, for it may change them meanwhile
                try:
                    self._tools = await _ask(client)
                except (MCPError, ValueError) as error:
                    self.stale = True
                    raise ToolFailed(f"{self._server} does not list its tools: {error}") from error
                except asyncio.CancelledError:
                    self.stale = True
                    raise
        return self._tools


async def _ask(client: Client) -> dict[str, types.Tool]:
    found: dict[str, types.Tool] = {}
    cursor: str | None = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor)
        found |= {tool.name: tool for tool in page.tools}
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise ValueError(f"the listing has more than {PAGES} pages")
