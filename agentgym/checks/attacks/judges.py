"""Judges that several attacks share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agentgym.checks.attacks.attack import SECONDS, Arena, Judge, expect_gone, expect_status, tail
from agentgym.checks.harness import expect
from agentgym.checks.sandbox import expect_output
from agentgym.sandbox import ExecResult, Sandbox, Status

LOOK = 0.05
"""Seconds between two looks at the machine."""

MOST_KEPT = 16 << 20
"""Characters of output that a host may keep of one run."""

DONE = "attack carried out"
"""The last line of a program that could try all it meant to."""


def ends(*statuses: Status, timeout: float = SECONDS) -> Judge:
    """The run ends as one of `statuses`, with bounded output, and the session goes on, anew where it was lost."""

    async def judge(arena: Arena, program: str) -> str:
        session = await arena.open()
        result = await arena.attack(session, program, timeout)
        expect_status(result, *statuses)
        kept = len(result.stdout) + len(result.stderr)
        expect(kept <= MOST_KEPT, f"{kept} characters of its output were kept")
        await expect_usable(session, result)
        return f"ended as {result.status} after {result.seconds:.2f} s"

    return judge


async def expect_usable(session: Sandbox, before: ExecResult) -> None:
    """Raise Broken unless the session runs programs, and says so where it had to start anew."""
    lost = before.status not in ("ok", "error")
    result = await session.run("print(6 * 7)", SECONDS)
    expect_output(result, "42", "the session runs the next program")
    expect(result.restarted == lost, f"after {before.status} `restarted` is {result.restarted}")


async def answers(arena: Arena, program: str) -> str:
    """Every later run is answered in time and truthfully: never ok without its output, and never silently anew."""
    session = await arena.open()
    statuses: list[Status] = [(await arena.attack(session, program)).status]
    for _ in range(3):
        result = await session.run("print(6 * 7)", timeout=3.0)
        lost = statuses[-1] not in ("ok", "error")
        expect(result.restarted == lost, f"after {statuses[-1]} `restarted` is {result.restarted}")
        told = result.status != "ok" or result.stdout.strip() == "42"
        expect(told, f"a run without its output is taken for ok: {tail(result)}")
        statuses.append(result.status)
    return f"answered with {', '.join(statuses)}"


async def gets_nothing(arena: Arena, program: str) -> str:
    """The program prints a line for each thing it got; there must be none, though it tried all of them."""
    result = await arena.attack(await arena.open(), program)
    *got, last = result.stdout.split("\n")[:-1] or [""]
    expect(last == DONE, f"it could not try all it meant to: {result.status}: {tail(result)}")
    expect(not got, f"it got {', '.join(got)[:600]!a}")
    return "refused"


async def keeps_secret(arena: Arena, program: str) -> str:
    """The host's secret does not arrive in anything the program writes, though it tried all it meant to."""
    expect_secret_kept(arena, await arena.attack(await arena.open(), program))
    return "the secret was not found"


def expect_secret_kept(arena: Arena, result: ExecResult) -> None:
    """Raise Broken unless the program tried all it meant to, and wrote nothing that holds the secret."""
    expect(arena.canary.secret not in result.stdout + result.stderr, "it got the host's secret")
    expect_carried_out(result)


def expect_carried_out(result: ExecResult) -> None:
    """Raise Broken unless the program came to its end."""
    expect(DONE in result.stdout, f"it could not try all it meant to: {result.status}: {tail(result)}")


async def leaves_nothing(arena: Arena, program: str) -> str:
    """When the session is closed, none of the program's processes is alive."""
    session = await arena.open()
    result = await arena.attack(session, program, timeout=3.0)
    await session.close()
    await expect_gone(arena.mark, "when the session is closed")
    return f"ended as {result.status}; nothing was left"


async def watch(run: Coroutine[Any, Any, ExecResult], look: Callable[[], object]) -> ExecResult:
    """The end of `run`. Meanwhile the host looks, some 20 times a second."""
    running = asyncio.ensure_future(run)
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=LOOK)
            look()
        return running.result()
    finally:
        running.cancel()


def bounded(measure: Callable[[str], float], most: float, unit: str = "") -> Judge:
    """`measure`, taken of the mark by the host while the program runs, never grows by more than `most`."""

    async def judge(arena: Arena, program: str) -> str:
        before = measure(arena.mark)
        grown: list[float] = []
        run = arena.attack(await arena.open(), program)
        result = await watch(run, lambda: grown.append(measure(arena.mark) - before))
        peak = max(grown)
        scale = 1 << 20 if unit == "MiB" else 1
        seen = f"{peak / scale:.0f} {unit}".strip()
        expect(peak <= most, f"it came to {seen}, over {most / scale:.0f}")
        return f"ended as {result.status} at {seen}"

    return judge


def unseen(reader: str) -> Judge:
    """What the program leaves, `reader` does not find: neither in a session open meanwhile nor in a later one.

    The reader prints what it found, and a last line when it has looked everywhere.
    """

    async def judge(arena: Arena, program: str) -> str:
        beside, session = await arena.open(), await arena.open()
        left = await arena.attack(session, program)
        expect_carried_out(left)
        await _expect_unseen(arena, beside, reader, "another session")
        await session.close()
        await _expect_unseen(arena, await arena.open(), reader, "a later session")
        return "not seen in another session, nor in a later one"

    return judge


async def _expect_unseen(arena: Arena, session: Sandbox, reader: str, who: str) -> None:
    result = await arena.attack(session, reader)
    *found, last = result.stdout.split("\n")[:-1] or [""]
    expect(last == DONE, f"{who} could not look: {result.status}: {tail(result)}")
    expect(not found, f"{who} sees {', '.join(found)[:600]!a}")
