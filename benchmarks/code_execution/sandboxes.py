"""agentgym's contestants: calls, new sessions and forks, in any of its sandboxes."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from agentgym.errors import SandboxError
from agentgym.sandbox import Sandbox, SandboxConfig, SandboxHost
from agentgym.sandboxes.docker import Docker
from agentgym.sandboxes.http import Http
from agentgym.sandboxes.local import Local

from .measure import PROGRAMS, Operation, Program, Row, Skipped, expect, row

PRELOAD = ("numpy", "sympy")
PATIENCE = 120.0  # seconds that a program may take, for 64 of them begin at once
STATE_MB = 50
FORKS = 20
"""Forks of new states in a row, before a lane begins again: each costs a level of the kernel's namespaces."""


async def local_rows(stack: AsyncExitStack) -> list[Row]:
    """Everything, in the local sandbox."""
    host = await opened(stack, Local(preload=PRELOAD, timeout=PATIENCE))
    size = f"{STATE_MB} MB"
    return [
        *rows_of("local", host),
        row(f"local: fork, {size}", partial(forking, host, False)),
        row(f"local: fork of a fork, {size}", partial(forking, host, True)),
    ]


async def docker_rows(stack: AsyncExitStack, image: str) -> list[Row]:
    """Calls and new sessions, each in a container of its own."""
    return rows_of("docker", await opened(stack, Docker(image, pool=0, preload=PRELOAD, timeout=PATIENCE)))


async def http_rows(stack: AsyncExitStack) -> list[Row]:
    """Calls and new sessions in the local sandbox of a server on this machine."""
    words = ("-m", "agentgym", "serve", "port=0", f"sandbox.preload={list(PRELOAD)}".replace("'", '"'))
    server = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    stack.push_async_callback(server.wait)
    stack.callback(server.terminate)
    assert server.stdout is not None
    url = re.search(rb"http://\S+", await server.stdout.readline())
    if url is None:
        raise Skipped("the server did not start")
    return rows_of("http", await opened(stack, Http(url[0].decode(), timeout=PATIENCE)))


async def opened(stack: AsyncExitStack, config: SandboxConfig) -> SandboxHost:
    """Its host, closed with the stack. Raises Skipped where it cannot be had."""
    try:
        host = await config.open()
    except SandboxError as error:
        raise Skipped(str(error)) from error
    stack.push_async_callback(host.close)
    return host


def rows_of(name: str, host: SandboxHost) -> list[Row]:
    calls = [row(f"{name}: call, {p.name}", partial(calling, host, p), p.name) for p in PROGRAMS]
    return [*calls, row(f"{name}: new session", partial(opening, host))]


@asynccontextmanager
async def calling(host: SandboxHost, program: Program, lanes: int) -> AsyncIterator[list[Operation]]:
    """Calls in a live session a lane, after one that does not count."""
    sessions = await asyncio.gather(*(host.session() for _ in range(lanes)))
    await asyncio.gather(*(call(session, program) for session in sessions))
    yield [partial(call, session, program) for session in sessions]
    await asyncio.gather(*(session.close() for session in sessions))


async def call(session: Sandbox, program: Program) -> float:
    started = time.perf_counter()
    result = await session.run(program.code)
    seconds = time.perf_counter() - started
    expect(program, result.stdout + result.stderr)
    return seconds


@asynccontextmanager
async def opening(host: SandboxHost, lanes: int) -> AsyncIterator[list[Operation]]:
    """New sessions, closed again off the clock."""

    async def operation() -> float:
        started = time.perf_counter()
        session = await host.session()
        seconds = time.perf_counter() - started
        await session.close()
        return seconds

    yield [operation] * lanes


@asynccontextmanager
async def forking(host: SandboxHost, chained: bool, lanes: int) -> AsyncIterator[list[Operation]]:
    """Forks of a session with state; the session it began with is one of its own to each lane."""
    forks = [Forks(host, chained) for _ in range(lanes)]
    await asyncio.gather(*(each.begin() for each in forks))
    yield [each.once for each in forks]
    await asyncio.gather(*(each.session.close() for each in forks))


class Forks:
    """One lane. chained: the fork goes on, and what it was made from is closed; else the other way about."""

    session: Sandbox

    def __init__(self, host: SandboxHost, chained: bool) -> None:
        self._host, self._chained = host, chained

    async def begin(self) -> None:
        """A session whose state was written, so that all of it is its own."""
        self.session, self._forks = await self._host.session(), 0
        await self._print(self.session, f"import os\nstate, n = bytearray(os.urandom({STATE_MB} << 20)), 0\nn")

    async def once(self) -> float:
        """Change the state, fork, and see that the fork has it."""
        if self._forks == FORKS:
            await self.session.close()
            await self.begin()
        self._forks += 1
        await self._print(self.session, "n += 1; state[n] = n; n")
        started = time.perf_counter()
        twin = await self.session.fork()
        seconds = time.perf_counter() - started
        await self._print(twin, "state[n]")
        over, self.session = (self.session, twin) if self._chained else (twin, self.session)
        await over.close()
        return seconds

    async def _print(self, session: Sandbox, code: str) -> None:
        """Run it, and see that it prints how many forks there were."""
        result = await session.run(code)
        if result.stdout.strip() != str(self._forks):
            raise RuntimeError(f"a fork has another state: {result}")
