"""What every sandbox promises."""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from agentgym.checks.harness import Broken, CheckResult, expect, run_checks
from agentgym.checks.leftovers import no_leftovers
from agentgym.errors import SandboxError
from agentgym.sandbox import ExecResult, Sandbox, SandboxConfig, SandboxHost

FLOOD = 32 << 20
DEADLINE = 60.0
"""Seconds for a check."""


async def check_sandbox(config: SandboxConfig) -> list[CheckResult]:
    """Every check on `config`."""
    return await run_checks(config, CHECKS, DEADLINE)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Opens sessions; all are closed with the host."""

    host: SandboxHost
    stack: AsyncExitStack

    async def open(self) -> Sandbox:
        """A fresh session."""
        return self.adopt(await self.host.session())

    def adopt(self, session: Sandbox) -> Sandbox:
        """Close this one as well."""
        self.stack.push_async_callback(session.close)
        return session


@asynccontextmanager
async def open_host(config: SandboxConfig) -> AsyncIterator[Sessions]:
    """A host of our own."""
    async with AsyncExitStack() as stack:
        host = await config.open()
        stack.push_async_callback(host.close)
        yield Sessions(host, stack)


def expect_output(result: ExecResult, text: str, promise: str) -> None:
    """Raise Broken unless the program finished and printed `text`."""
    seen = result.stdout.strip() or result.stderr.strip()[-200:]
    expect(result.status == "ok" and seen == text, f"{promise}: expected {text!r}, got {result.status}: {seen!r}")


def expect_fresh(result: ExecResult) -> None:
    """Raise Broken unless the session was started anew, and said so."""
    expect(result.restarted, "the run after a lost session does not say `restarted`")
    expect_output(result, "False", "a restarted session has empty state")


async def expect_refused(session: Sandbox, seconds: float) -> None:
    """Raise Broken unless that is no timeout."""
    try:
        await session.run("pass", timeout=seconds)
    except SandboxError:
        return
    raise Broken(f"a timeout of {seconds} s is taken")


IS_X = "print('x' in globals())"


async def state_persists(config: SandboxConfig) -> str:
    async with open_host(config) as sessions:
        session = await sessions.open()
        await session.run("x = 41\ndef f():\n    return x + 1")
        expect_output(await session.run("print(f())"), "42", "variables and functions live from run to run")
        await session.write("in.txt", b"7")
        await session.run("open('out.txt', 'w').write(open('in.txt').read() * 2)")
        data = await session.read("out.txt")
        expect(data == b"77", f"files live from run to run: expected b'77', got {data!r}")
        failed = await session.run("y = x\nundefined")
        expect(failed.status == "error" and "NameError" in failed.stderr, f"an exception is an error: {failed}")
        expect_output(await session.run("print(y)"), "41", "state outlives an exception")
        expect(session.calls == 5, f"calls counts every program: expected 5, got {session.calls}")
    return "variables, functions and files, also after an exception"


async def sessions_are_isolated(config: SandboxConfig) -> str:
    async with open_host(config) as sessions:
        one, two = await sessions.open(), await sessions.open()
        await one.run("x = 1\nopen('mine.txt', 'w').write('1')")
        expect_output(await two.run(IS_X), "False", "variables are a session's own")
        seen = await two.run("import os\nprint(os.path.exists('mine.txt'))")
        expect_output(seen, "False", "the working directory is a session's own")
    return "variables and files of two sessions"


async def timeout_kills(config: SandboxConfig) -> str:
    async with open_host(config) as sessions:
        session = await sessions.open()
        await session.run("x = 1")
        result = await session.run("while True: pass", timeout=0.5)
        expect(result.status == "timeout", f"an endless loop ends as timeout, not as {result.status}")
        expect_fresh(await session.run(IS_X))
        for seconds in (0.0, -1.0, math.nan, math.inf):
            await expect_refused(session, seconds)
    return f"an endless loop, after {result.seconds:.2f} s of 0.5 s"


async def output_is_limited(config: SandboxConfig) -> str:
    async with open_host(config) as sessions:
        session = await sessions.open()
        result = await session.run(f"x = 1\nfor _ in range({FLOOD >> 10}): print('a' * 1023)")
        size = len(result.stdout)
        expect(result.status == "output_limit", f"a flood of output ends as output_limit, not as {result.status}")
        expect(size < FLOOD // 2, f"{size} bytes of a flood were kept")
        expect_fresh(await session.run(IS_X))
    return f"{size} of {FLOOD} bytes kept"


async def fork_is_isolated(config: SandboxConfig) -> str:
    async with open_host(config) as sessions:
        parent = await sessions.open()
        await parent.run("x = [1]\nopen('f.txt', 'w').write('1')")
        twin = sessions.adopt(await parent.fork())
        read = "print(x, open('f.txt').read())"
        expect_output(await twin.run(read), "[1] 1", "a fork begins in its parent's state")
        await twin.run("x.append(2)\nopen('f.txt', 'w').write('2')")
        expect_output(await parent.run(read), "[1] 1", "a parent does not see its fork's writes")
        await parent.run("x.append(3)\nopen('f.txt', 'w').write('3')")
        expect_output(await twin.run(read), "[1, 2] 2", "a fork does not see its parent's writes")
        await parent.close()
        expect_output(await twin.run(read), "[1, 2] 2", "a fork outlives its parent")
    return "variables and files, in both directions"


async def close_twice(config: SandboxConfig) -> str:
    async with open_host(config) as sessions:
        session = await sessions.open()
        await session.run("x = 1")
        for _ in range(2):
            await session.close()
        for _ in range(2):
            await sessions.host.close()
    return "a session and its host"


async def nothing_left_behind(config: SandboxConfig) -> str:
    mark = f"agentgym-check-{uuid.uuid4().hex}"
    daemon = f"[sys.executable, '-c', 'import time; time.sleep(3600)', '{mark}']"
    async with no_leftovers(mark), open_host(config) as sessions:
        session = await sessions.open()
        for each in (session, sessions.adopt(await session.fork())):
            started = await each.run(
                f"import subprocess, sys\nsubprocess.Popen({daemon}, start_new_session=True)\nprint(1)"
            )
            expect_output(started, "1", "a program can start a process")
    return "no process, temporary file, task or descriptor, though programs had started daemons"


CHECKS = (
    state_persists,
    sessions_are_isolated,
    timeout_kills,
    output_is_limited,
    fork_is_isolated,
    close_twice,
    nothing_left_behind,
)
