"""Memory of idle sessions: what each has for itself alone, by the kernel's account."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agentgym.sandboxes.local import Local

from .measure import PROGRAMS
from .sandboxes import PATIENCE, PRELOAD, call

SESSIONS = 50


class Memory(NamedTuple):
    """Of an idle session: KiB that no other process shares, in all its processes, and how many those are."""

    kib: float
    processes: float


async def idle_session(ran: bool) -> Memory:
    """The average of 50; ran: each has run a small program before."""
    host = await Local(preload=PRELOAD, timeout=PATIENCE).open()
    try:
        before = set(below(os.getpid()))
        sessions = await asyncio.gather(*(host.session() for _ in range(SESSIONS)))
        if ran:
            await asyncio.gather(*(call(session, PROGRAMS[0]) for session in sessions))
        new = set(below(os.getpid())) - before
        return Memory(sum(map(unique, new)) / SESSIONS, len(new) / SESSIONS)
    finally:
        await host.close()


def below(pid: int) -> Iterator[int]:
    """The descendants of a process."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from below(child)


def unique(pid: int) -> int:
    """KiB of a process that are shared with no other; needs the right to look into it, as root has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
