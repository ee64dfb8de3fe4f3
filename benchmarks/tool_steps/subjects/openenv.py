"""OpenEnv: a server in a process of its own, and a client of openenv-core's a lane, here, which keeps its WebSocket
from one episode to the next."""

from __future__ import annotations

import asyncio
import importlib
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from episode import ACTIONS, Subject, must, walk

SERVER = Path(__file__).parents[1] / "openenv_server.py"


class OpenEnv(Subject):
    idlers = 0

    def __init__(self) -> None:
        self.clients: list[Any] = []
        self.make_client = importlib.import_module("openenv.core.generic_client").GenericEnvClient
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            command = [sys.executable, str(SERVER), str(listener.fileno())]
            self.server = subprocess.Popen(command, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL)

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
        self.server.terminate()
        self.server.wait()


def make() -> OpenEnv:
    return OpenEnv()
