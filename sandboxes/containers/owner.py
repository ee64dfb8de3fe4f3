"""Which process a container serves, so that what a crashed one left can be told from what a living one uses."""

from __future__ import annotations

import os
from pathlib import Path

LABEL = "agentgym.sandbox.host"
"""On every container: the process that it serves, as `owner` writes it."""


def boot_id() -> str:
    """This kernel's life, different after every boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started_at(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def owner(pid: int) -> str:
    """A process, by boot, pid namespace, pid and start, so that no later one is taken for it."""
    return f"{boot_id()} {os.stat('/proc/self/ns/pid').st_ino} {pid} {started_at(pid)}"


def abandoned(label: str) -> bool:
    """Whether a container's host is known to have ended: one of this boot and pid namespace that is not there."""
    pid = label.split()[2] if len(label.split()) == 4 else ""
    return pid.isdigit() and label.startswith(owner(int(pid)).rsplit(" ", 1)[0]) and label != owner(int(pid))
