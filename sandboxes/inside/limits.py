"""Limits of a session's processes (setrlimit(2)). Memory is per process; cgroups, if any, bound the sum.

While a session branches, its worker holds the descriptors of all branches, and their processes count as its own:
hence hard limits far above the soft ones. Programs cannot change either, the filter of system calls sees to that.
"""

from __future__ import annotations

import resource
from typing import Any

OURS = 1  # of the processes counted: a session's keeper
FILES = 256
ROOM = 1024  # how many times a session's processes may be counted while it branches
LOOSENED = (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE)


def limit(config: dict[str, Any]) -> None:
    """The worker's own limits, inherited by all it starts."""
    limits = {
        resource.RLIMIT_AS: (config["address_space"],) * 2,
        resource.RLIMIT_FSIZE: (config["disk"],) * 2,
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (FILES, 4 * FILES),
    }
    if config["namespaces"]:  # counted within the session's own user namespace
        limits[resource.RLIMIT_NPROC] = (soft_limits(config)[0], soft_limits(config)[0] * ROOM)
    for what, (soft, most) in limits.items():
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (min(soft, most), most))


def soft_limits(config: dict[str, Any]) -> tuple[int, int]:
    """Of what is loosened while a session branches."""
    return config["processes"] + OURS, FILES


def loosen(pid: int) -> None:
    """Let a worker branch."""
    for what in LOOSENED:
        hard = resource.prlimit(pid, what)[1]
        resource.prlimit(pid, what, (hard, hard))


def tighten(pid: int, config: dict[str, Any]) -> None:
    """Give a branch the limits of a fresh session."""
    for what, soft in zip(LOOSENED, soft_limits(config), strict=True):
        hard = resource.prlimit(pid, what)[1]
        resource.prlimit(pid, what, (min(soft, hard), hard))
