"""Servers for tests: in this process, over the local sandbox, and what a plain HTTP client sees of them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

BARE = {"name": "local", "allow_weak": True, "preload": []}
"""Where there is no bubblewrap (the fixture `no_walls`), its programs see the test's files."""


class Raw:
    """A client that sends each request once and follows no protocol but what it is told."""

    def __init__(self, url: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.AsyncClient(base_url=url, headers=headers, timeout=60.0)

    async def send(self, method: str, path: str, id: str = "", **content: Any) -> httpx.Response:
        headers = {"Idempotency-Key": id} if id else {}
        return await self.http.request(method, path, headers=headers, **content)

    async def open(self, lease: float = 60.0) -> str:
        """A session; its id."""
        id = uuid4().hex
        response = await self.send("POST", "/v1/sessions", id, json={"lease": lease})
        assert response.status_code == 200, response.text
        return id

    async def run(self, session: str, code: str, id: str = "", **fields: Any) -> httpx.Response:
        body = {"code": code, "timeout": 30.0, **fields}
        return await self.send("POST", f"/v1/sessions/{session}/run", id or uuid4().hex, json=body)

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = (await self.send("GET", "/metrics")).text
        values = re.findall(rf"^agentgym_sandbox_{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values))

    async def until(self, name: str, value: float) -> None:
        """Wait for a metric to reach a value."""
        async with asyncio.timeout(30.0):
            while await self.metric(name) != value:  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.01)


def waits_for(file: Path) -> str:
    """A program that ends when the file exists."""
    return f"import os, time\nwhile not os.path.exists({str(file)!r}): time.sleep(0.01)"
