"""OpenEnv: a server in a process of its own, ours or openenv-core's, and a client of openenv-core's a lane, here,
which keeps its WebSocket from one episode to the next."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from episode import ACTIONS, Subject, must, walk

SERVERS = Path(__file__).parents[1]


class OpenEnv(Subject):
    idlers = 0

    def __init__(self, server: str, python: str) -> None:
        self.clients: list[Any] = []
        self.make_client = importlib.import_module("openenv.core.generic_client").GenericEnvClient
        command = [python, str(SERVERS / f"{server}.py")]
        self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        self.url = self.server.stdout.readline().split()[-1]

    async def play(self, lanes: int, end: float) -> list[float]:
        while len(self.clients) < lanes:
            client = self.make_client(base_url=self.url, connect_timeout_s=60.0)
            await client.connect()
            self.clients.append(client)
        seconds: list[float] = []
        await asyncio.gather(*(self.lane(client, end, seconds) for client in self.clients[:lanes]))
        return seconds

    async def lane(self, client: Any, end: float, seconds: list[float]) -> None:
        while True:
            await client.reset()
            result = await walk(partial(self.step, client), ACTIONS, seconds)
            must(result.done and result.reward == 1.0, result)
            if time.perf_counter() >= end:
                return

    async def step(self, client: Any, action: str) -> Any:
        return await client.step({"message": action})

    async def episode(self, seconds: list[float]) -> None:
        raise NotImplementedError("played by lanes with a connection each")

    async def close(self) -> None:
        await asyncio.gather(*(client.disconnect() for client in self.clients))
        self.server.terminate()
        self.server.wait()


def make(server: str, python: str = sys.executable) -> OpenEnv:
    return OpenEnv(server, python)
