"""Run by `works_in_another_process`: opens a pickled toolset and prints the schemas of its tools."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys

from agentgym.services import Services


async def schemas(data: bytes) -> str:
    """The schemas as JSON on one line."""
    async with Services() as services:
        tools = await pickle.loads(data).open(services)
        specs = [tool.spec.function() for tool in tools]
        for tool in tools:
            await tool.close()
    return json.dumps(specs)


if __name__ == "__main__":
    path, toolset = pickle.loads(sys.stdin.buffer.read())
    sys.path[:] = path
    print(asyncio.run(schemas(toolset)))
