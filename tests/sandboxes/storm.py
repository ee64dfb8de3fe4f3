"""Many sessions at once, some of which do their worst; each must end as it should, and none may hang."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import pytest

from agentgym.errors import SandboxError
from agentgym.sandbox import Status

T = TypeVar("T")

CUT = 1.0  # seconds after which programs that do not end are ended
LONG = 60.0  # for those that do
GRACE = 60.0  # seconds that a call may take on top
FORKING = 4  # one in so many healthy sessions forks


class Kind(NamedTuple):
    """share: of 100 sessions."""

    name: str
    share: int
    code: str = ""
    timeout: float = CUT
    status: Status = "timeout"


LOOP = "while True: pass"
BOMB = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
HEALTHY = Kind("healthy", 87)
SERVER_KILLED = Kind("fork server killed", 1)
KINDS = (
    HEALTHY,
    SERVER_KILLED,
    Kind("endless loop", 5, LOOP),
    Kind("fork bomb", 2, BOMB),
    Kind("stops itself", 2, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"),
    Kind("flood", 2, "import sys; sys.stdout.write('x' * 50_000_000)", LONG, "output_limit"),
    Kind("kills itself", 1, "import os; os.kill(os.getpid(), 9)", LONG, "killed"),
)


class Storm:
    """kill_server: ends the sandbox's fork server; False when there is none at the moment.

    ended: sessions of each kind that were as they should be. retried: attempts that were lost with a fork server
    that had been killed, and made again. kills: of fork servers.
    """

    def __init__(self, host: Any, kill_server: Callable[[], bool], at_once: int) -> None:
        self.host = host
        self.kill_server = kill_server
        self.room = asyncio.Semaphore(at_once)
        self.ended: Counter[str] = Counter()
        self.retried = self.kills = self.dying = 0

    async def blow(self, sessions: int, seed: int) -> None:
        """So many sessions, in an order that depends on the seed."""
        kinds = [kind for kind in KINDS for _ in range(sessions * kind.share // 100)]
        assert len(kinds) == sessions
        random.Random(seed).shuffle(kinds)
        async with asyncio.TaskGroup() as group:
            for number, kind in enumerate(kinds):
                group.create_task(self.one(kind, number))

    async def one(self, kind: Kind, number: int) -> None:
        """A session, again if it was lost through no fault of its own."""
        async with self.room:
            while True:
                kills, calm = self.kills, not self.dying
                try:
                    await self.attempt(kind, number)
                except SandboxError:
                    if calm and self.kills == kills:
                        raise
                    self.retried += 1
                else:
                    self.ended[kind.name] += 1
                    return

    async def attempt(self, kind: Kind, number: int) -> None:
        session = await within(self.host.session())
        try:
            if kind is HEALTHY:
                await healthy(session, number)
            elif kind is SERVER_KILLED:
                await self.bring_down(session)
            else:
                await unhealthy(session, kind)
        finally:
            await within(session.close())

    async def bring_down(self, session: Any) -> None:
        """Kill the fork server while a run begins: the run says so, and then sessions can be had again."""
        running = asyncio.create_task(run(session, LOOP, LONG))
        await asyncio.sleep(0)
        if not self.kill_server():
            await running  # it has been killed already, by another
        self.kills += 1
        self.dying += 1
        with pytest.raises(SandboxError):
            await running
        await within(self.recovered())
        self.dying -= 1

    async def recovered(self) -> None:
        """Until there is a fork server that was not killed while it started."""
        while True:
            with suppress(SandboxError):
                await (await self.host.session()).close()
                return


async def within(call: Awaitable[T], seconds: float = GRACE) -> T:
    """Its result; fails when there is none for so long."""
    async with asyncio.timeout(seconds):
        return await call


async def run(session: Any, code: str, timeout: float = LONG) -> Any:
    return await within(session.run(code, timeout), timeout + GRACE)


async def printed(session: Any, code: str) -> str:
    result = await run(session, code)
    assert (result.status, result.stderr, result.restarted) == ("ok", "", False)
    return str(result.stdout)


async def healthy(session: Any, number: int) -> None:
    """Compute, keep, and in some sessions fork: both sides go on from there, each by itself."""
    n = number + 2
    code = f"n = {n}\n_ = open('n', 'w').write(str(n))\nprint(sum(i * i for i in range(n)))"
    assert await printed(session, code) == f"{(n - 1) * n * (2 * n - 1) // 6}\n"
    if number % FORKING == 0:
        twin = await within(session.fork())
        try:
            for step, side in enumerate((session, twin), 1):
                await printed(side, f"n += {step}\n_ = open('n', 'a').write('+{step}')")
            assert await printed(twin, "print(n, open('n').read())") == f"{n + 2} {n}+2\n"
            assert await printed(session, "print(n, open('n').read())") == f"{n + 1} {n}+1\n"
        finally:
            await within(twin.close())
    else:
        assert await printed(session, "print(n, open('n').read())") == f"{n} {n}\n"


async def unhealthy(session: Any, kind: Kind) -> None:
    """It ends as it should; then the session works again, and says that it had to begin anew."""
    await printed(session, "kept = 1")
    assert (await run(session, kind.code, kind.timeout)).status == kind.status, kind.name
    after = await run(session, "'kept' in globals()")
    assert (after.status, after.stdout, after.restarted) == ("ok", "False\n", True), kind.name
