"""The world of a session: what its keeper mounts inside of fresh namespaces before any program is there."""

from __future__ import annotations

import os
from typing import Any, Literal

from .copying import copy_tree
from .kernel import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, mount

FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC
Workspace = Literal["new", "kept", "copied"]
ENTRANCES = ("user", "pid", "mnt")  # in the order in which a worker enters


def put(path: str, text: str) -> None:
    """Write to a file of the kernel's."""
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def map_ids(uid: int, gid: int) -> None:
    """Keep one's ids in a fresh user namespace."""
    put("/proc/self/setgroups", "deny")
    put("/proc/self/uid_map", f"{uid} {uid} 1")
    put("/proc/self/gid_map", f"{gid} {gid} 1")


def allow_namespaces(count: int) -> None:
    """How many user namespaces may be made below the current one: none, but while a session branches."""
    put("/proc/sys/user/max_user_namespaces", str(count))


def furnish(config: dict[str, Any], workspace: Workspace) -> None:
    """Map the own uid; mount a bounded workspace: empty, the one that is there, or its copy."""
    put("/proc/self/oom_score_adj", "1000")  # short of memory, a session goes before the fork server
    map_ids(config["uid"], config["gid"])
    if workspace != "kept":
        target = config["directory"]
        old = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        options = f"size={config['disk']},nr_inodes={config['inodes']},mode=0700"
        mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)
        if workspace == "copied":
            new = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
            copy_tree(old, new)
            os.close(new)
        os.close(old)
        for alias in config["aliases"]:
            mount(target, alias, "", MS_BIND)
    for shared in config["shared"]:
        empty(shared)


def furnish_proc(config: dict[str, Any]) -> None:
    """Mount an own /proc, which ends the sight of the one outside."""
    if config["own_proc"]:
        mount("proc", "/proc", "proc", FLAGS)
        allow_namespaces(0)  # no way back to capabilities
    else:
        empty("/proc")


def empty(folder: str) -> None:
    """Cover a folder with one in which there is nothing."""
    mount("tmpfs", folder, "tmpfs", FLAGS | MS_RDONLY, "size=4k,mode=0555")
