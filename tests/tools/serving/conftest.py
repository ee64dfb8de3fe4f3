from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentgym.tools.serving.server import running
from agentgym.tools.serving.settings import ServeTools

ODD = Path(__file__).with_name("odd_tools.py")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60.0):
        while not await holds():  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.01)


class Trainer:
    """A client that sends each request once, in the form that VerlTool's trainers send it."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.AsyncClient(base_url=url, headers=headers, timeout=60.0)

    async def send(self, ids: list[str], actions: list[str], **lists: Any) -> httpx.Response:
        return await self.http.post("/get_observation", json={"trajectory_ids": ids, "actions": actions, **lists})

    async def observe(self, id: str, action: str, **flags: Any) -> tuple[Any, bool, bool]:
        """Observation, done and valid of one action."""
        response = await self.send([id], [action], **{name: [value] for name, value in flags.items()})
        assert response.status_code == 200, response.text
        body = response.json()
        return body["observations"][0], body["dones"][0], body["valids"][0]

    async def until_healthy(self) -> None:
        async def healthy() -> bool:
            return bool((await self.http.get("/health")).json()["status"] == "healthy")

        await until(healthy)

    async def metric(self, name: str) -> float:
        lines = (await self.http.get("/metrics")).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"agentgym_tools_{name}"))


Serving = Callable[..., Any]


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """Starts servers of tools in odd_tools.py, and gives a client of each."""
    async with AsyncExitStack() as stack:

        async def start(*tools: str, token: str = "", **settings: Any) -> Trainer:
            named: list[Any] = [f"{ODD}:{tool}" for tool in tools]
            fields = {"tools": named, "port": 0, "workers": 1, "token": token, **settings}
            trainer = Trainer(await stack.enter_async_context(running(ServeTools(**fields))), token)
            stack.push_async_callback(trainer.http.aclose)
            return trainer

        yield start
