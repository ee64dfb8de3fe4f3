"""The Model Context Protocol, both ways: any MCP server's tools are tools, and our tools are an MCP server's.

Only this package imports the official SDK.
"""

from __future__ import annotations

import importlib.util

from agentgym.errors import UserError


def need_sdk() -> None:
    """Raises UserError where the SDK is not installed."""
    if importlib.util.find_spec("mcp") is None:
        raise UserError("MCP needs the extra `mcp` (pip install -e '.[mcp]'): there is no module mcp")
