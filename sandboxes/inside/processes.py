"""Processes as /proc shows them."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def children(pid: int) -> set[int]:
    """Children of a process; empty when it is gone."""
    try:
        lists = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        return {int(child) for file in lists for child in file.read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def namespace(pid: int | str) -> int:
    """Identity of a process's pid namespace; 0 when it is gone or hides from us."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def all_pids() -> list[int]:
    """Every process in sight."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def freeze(pid: int) -> None:
    """Stop a process and return when it has stopped; raises OSError when it is gone."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "TZX":
        os.sched_yield()


def signal_all(pids: set[int], number: int) -> None:
    """Signal processes, some of which may be gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def sweep(ours: set[int]) -> None:
    """Kill and reap what dead keepers left: our children that are not `ours`, and all below them."""
    while orphans := children(os.getpid()) - ours:
        seen: set[int] = set()
        frontier = orphans
        while frontier:  # stopped first, so that nobody forks while we look
            signal_all(frontier, signal.SIGSTOP)
            seen |= frontier
            below = set().union(*map(children, seen))
            frontier = below - seen
        signal_all(seen, signal.SIGKILL)
        for pid in orphans:
            os.waitpid(pid, 0)
