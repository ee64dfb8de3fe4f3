"""Limits of a session's processes (setrlimit(2)). Memory is per process; cgroups, if any, bound the sum."""

from __future__ import annotations

import resource
from typing import Any

OURS = 1  # of the processes counted: a session's keeper
BRANCHES = 1024  # how many times a session's processes may be counted while it branches


def limit(config: dict[str, Any]) -> None:
    """The worker's own limits, inherited by all it starts."""
    limits = {
        resource.RLIMIT_AS: (config["address_space"],) * 2,
        resource.RLIMIT_FSIZE: (config["disk"],) * 2,
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (256, 256),
    }
    if config["namespaces"]:  # counted within the session's own user namespace
        count = config["processes"] + OURS
        limits[resource.RLIMIT_NPROC] = (count, count * BRANCHES)
    for what, (soft, most) in limits.items():
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (min(soft, most), most))


def allow_branching(pid: int) -> None:
    """Let a worker start the processes of its branches, which count as its own until they are apart."""
    hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
    resource.prlimit(pid, resource.RLIMIT_NPROC, (hard, hard))


def limit_processes(pid: int, config: dict[str, Any]) -> None:
    """A branch's bound, as a fresh session has it."""
    hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
    resource.prlimit(pid, resource.RLIMIT_NPROC, (min(config["processes"] + OURS, hard), hard))
