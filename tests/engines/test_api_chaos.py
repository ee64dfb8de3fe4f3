"""Hundreds of episodes over a server that fails in every way: each ends as it would have ended without."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentgym.config import build
from agentgym.engines.chat_pieces import ChatPieces
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Group, Outcome
from tests.free_port import free_port

from .api_server import ApiServer, counting, running
from .counting_env import Counting, tasks
from .faulty_proxy import FAULTS, faulty

EPISODES = 256


async def play(url: str, count: int = EPISODES, **fields: Any) -> tuple[list[Group], Any]:
    """The groups, and what they cost."""
    table = {"name": "openai", "base_url": url, "api_key_env": "", "timeout": 60, "patience": 200, **fields}
    live = build("engine", table).reach("m", ChatPieces())
    try:
        async with Services() as services:
            guard = Guard(retries=0, episode_timeout=300, max_error_frac=0.0)
            manager = Manager(Counting(turns=2), live, live.chat, services, Limits(50), guard)
            return await manager.run(Independent(), tasks(count), 0, 1), live.spent
    finally:
        await live.close()


def story(groups: list[Group]) -> list[Any]:
    return [[(turn.text, turn.reward, turn.outcome) for turn in group.turns] for group in groups]


def untroubled(count: int) -> list[Any]:
    """What becomes of these episodes: each is told two numbers, from 10 and its index on, and says what comes
    after them; the server errs after multiples of seven."""
    told = [[(n, None), (n + 1, Outcome.DONE)] for n in range(10, 10 + count)]
    return [
        [(f"<say>{n + 1 if n % 7 else 0}</say>", float(n % 7 > 0), outcome) for n, outcome in episode]
        for episode in told
    ]


async def test_a_faulty_server_changes_nothing_but_the_time() -> None:
    async with running(ApiServer(counting)) as server, faulty(server.url, 0.3, seed=1) as proxy:
        groups, spent = await play(proxy.url)
    assert story(groups) == untroubled(EPISODES)
    assert set(proxy.met) == set(FAULTS)
    assert spent.requests == server.requests == 2 * EPISODES
    assert spent.prompt_tokens == server.prompt_tokens
    assert spent.completion_tokens == server.completion_tokens


async def test_a_server_that_falls_silent_is_asked_again() -> None:
    async with running(ApiServer(counting)) as server, faulty(server.url, 0.0, seed=1, hangs=4) as proxy:
        groups, _ = await play(proxy.url, 4, timeout=2)
    assert {group.turns[-1].outcome for group in groups} == {Outcome.DONE}
    assert proxy.met["hang"] == 4


@asynccontextmanager
async def process(port: int, dies_after: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The server as a program of its own, killed at the end."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.engines.api_server", str(port), str(dies_after)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert running.stdout is not None
    try:
        assert await running.stdout.readline() == b"serving\n"
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def test_a_server_that_is_killed_and_comes_back_is_waited_for() -> None:
    port = free_port()
    async with process(port, dies_after=40) as first:
        playing = asyncio.create_task(play(f"http://127.0.0.1:{port}/v1", 64))
        assert await first.wait() == -signal.SIGKILL
    async with process(port, dies_after=0):
        groups, spent = await playing
    assert story(groups) == untroubled(64)
    assert spent.requests == 128
