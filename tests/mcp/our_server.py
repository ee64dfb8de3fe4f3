"""Serves tools of ours to MCP clients: `our_server.py [PORT]`. AGENTGYM_TOKEN, where set, is its token."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agentgym.errors import ToolError
from agentgym.mcp.serve import serve_mcp
from agentgym.mcp.settings import STDIO, ServeMcp
from agentgym.services import Services
from agentgym.tool import Limits, Tool, ToolContext, ToolSpec
from agentgym.tooling.load import toolsets
from agentgym.tooling.toolbox import Toolbox

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@dataclass(eq=False)
class Diary:
    """Keeps what it is told, slowly, and says all of it."""

    ordered: bool = True
    spec = ToolSpec("diary", "Add a line.", TEXT)
    limits = Limits()
    lines: list[str] = field(default_factory=list)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        before = list(self.lines)
        await asyncio.sleep(0.01)
        self.lines = [*before, arguments["text"]]
        return " ".join(self.lines)

    async def close(self) -> None: ...


@dataclass(eq=False)
class Trouble:
    """Fails in the way it is asked for."""

    spec = ToolSpec("trouble", "Fail.", TEXT)
    limits = Limits(timeout=0.2)
    ordered = False

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        match arguments["text"]:
            case "print":
                print("not for the client")
                os.write(1, b"nor this\n")
                return "printed"
            case "refuse":
                raise ToolError("seven is no vowel")
            case "break":
                raise ZeroDivisionError("the tool is broken")
        await asyncio.Event().wait()
        return "never"

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Tools:
    async def open(self, services: Services) -> Sequence[Tool]:
        return [Diary(), Trouble()]  # type: ignore[list-item]  # they cannot fork


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else STDIO
    settings = ServeMcp(port=port, sandbox={"name": "local", "preload": []})
    asyncio.run(
        serve_mcp(
            partial(Toolbox.open, [*toolsets("python"), Tools()]),
            settings,
            lambda text: print(text, file=sys.stderr),
        )
    )
