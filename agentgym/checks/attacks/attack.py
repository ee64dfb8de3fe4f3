"""An attack: a program, the promise it tries to break, and a judge that looks from outside of the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

from agentgym.checks.attacks.canary import Canary
from agentgym.checks.attacks.observe import kill, processes
from agentgym.checks.harness import expect
from agentgym.checks.sandbox import Sessions, expect_output, open_host
from agentgym.sandbox import ExecResult, Sandbox, SandboxConfig, Status

SECONDS = 20.0
"""Wall time of a run that is meant to end by itself."""

PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)

PRELUDE = """
import ctypes, errno, os, re, signal, socket, subprocess, sys, threading, time
mark, host = {mark!r}, {facts!r}
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(15, mark.encode())  # PR_SET_NAME: what the host sees in /proc/PID/comm
ADD_KEY, KEYCTL, PERF_EVENT_OPEN, BPF, USERFAULTFD, INIT_MODULE, KEXEC_LOAD = (
    (248, 250, 298, 321, 323, 175, 246) if os.uname().machine == 'x86_64' else (217, 219, 241, 280, 282, 105, 104))
def on_host(): return os.readlink('/proc/self/ns/pid') == host['pid_namespace']
def secrets(data): return set(re.findall(rb'canary-[0-9a-f]{{32}}', data))
"""
"""Before every attacking program: what an attacker may know of the host, and a name for its processes."""


@dataclass(frozen=True, slots=True)
class Arena:
    """One sandbox host under one attack. mark: the name that the attack's processes bear, and their children."""

    sessions: Sessions
    canary: Canary
    mark: str

    async def open(self) -> Sandbox:
        """A fresh session."""
        return await self.sessions.open()

    async def fork(self, session: Sandbox) -> Sandbox:
        """A fork of `session`."""
        return self.sessions.adopt(await session.fork())

    async def attack(self, session: Sandbox, program: str, timeout: float = SECONDS) -> ExecResult:
        """Run a program that knows the host's facts."""
        return await session.run(self.text(program), timeout)

    def text(self, program: str) -> str:
        """`program` as it is sent."""
        return PRELUDE.format(mark=self.mark, facts=self.canary.facts) + program


Judge = Callable[[Arena, str], Awaitable[str]]
"""Runs the program and says what was seen; raises Broken where the promise does not hold."""


@dataclass(frozen=True, slots=True)
class Attack:
    """promise: what must hold all the same. needs: the protection that holds it, as the sandbox's `protections()`
    name it. alone: judged by something that other attacks change too, so that none runs beside it."""

    name: str
    promise: str
    program: str
    judge: Judge
    needs: str = ""
    alone: bool = False


async def carry_out(attack: Attack, config: SandboxConfig, canary: Canary) -> str:
    """Attack a host of its own; what was seen. Raises Broken.

    Whatever the attack promises by itself, a session next to it keeps its state, a session opened after it
    works, and none of its processes outlives the host. Those that do are killed here.
    """
    mark = f"agx{uuid4().hex[:12]}"
    try:
        async with open_host(config) as sessions:
            arena = Arena(sessions, canary, mark)
            bystander = await arena.open()
            await bystander.run("x = 1")
            seen = await attack.judge(arena, attack.program)
            expect_output(await bystander.run("print(x)", SECONDS), "1", "a session beside it keeps its state")
            expect_output(
                await (await arena.open()).run("print(6 * 7)", SECONDS), "42", "a session after it works"
            )
        await expect_gone(mark, "when the host is closed")
    finally:
        await end(mark)
    return seen


async def end(mark: str) -> None:
    """Kill what bears `mark`, and what it forks meanwhile."""
    for pause in PAUSES:
        if not kill(processes(mark)):
            return
        await asyncio.sleep(pause)


async def expect_gone(mark: str, when: str) -> None:
    """Raise Broken unless no process bears `mark`, soon."""
    for pause in PAUSES:
        if not processes(mark):
            return
        await asyncio.sleep(pause)
    left = processes(mark)
    expect(not left, f"{len(left)} of its processes are alive {when}")


def expect_status(result: ExecResult, *statuses: Status) -> None:
    """Raise Broken unless the run ended so."""
    wanted = " or ".join(statuses)
    expect(result.status in statuses, f"it ends as {result.status}, not as {wanted}: {tail(result)}")


def tail(result: ExecResult) -> str:
    """The end of what a run wrote, on one line."""
    return ascii((result.stderr.strip() or result.stdout.strip())[-300:])
