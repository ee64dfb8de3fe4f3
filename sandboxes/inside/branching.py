"""The worker's part of a fork: it clones itself into worlds that its keeper has prepared (see keeper.py)."""

from __future__ import annotations

import os
import signal
import stat
from fcntl import F_GETFD, F_GETFL, F_SETFD, fcntl
from typing import NamedTuple

from .examine import CHANNEL, HARMLESS, STANDING
from .kernel import PR_SET_DUMPABLE, clone, drop_capabilities, prctl, setns

TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
AS_NEW = os.O_CREAT | os.O_EXCL | os.O_TRUNC


class Way(NamedTuple):
    """Into one branch: its namespaces, and what will be its channel and streams."""

    user: int
    pid: int
    mount: int
    ipc: int
    channel: int
    out: int
    err: int

    def enter(self) -> None:
        """Go into the namespaces; they need not be named, a descriptor is of one kind."""
        for namespace in (self.user, self.pid, self.mount, self.ipc):
            setns(namespace, 0)


class OpenFile(NamedTuple):
    """An open file, to be opened again."""

    descriptor: int
    path: str
    flags: int
    position: int
    close_on_exec: int

    def reopen(self) -> None:
        """Put the file of the same path here in its place."""
        new = os.open(self.path, self.flags & ~AS_NEW)
        if self.position:
            os.lseek(new, self.position, os.SEEK_SET)
        os.dup2(new, self.descriptor)
        fcntl(self.descriptor, F_SETFD, self.close_on_exec)
        os.close(new)


def open_files(apart_from: set[int]) -> list[OpenFile]:
    """What programs have opened."""
    found = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            status, path = os.fstat(descriptor), os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # that of the listing itself
            continue
        if descriptor in apart_from or path in HARMLESS:
            continue
        position = os.lseek(descriptor, 0, os.SEEK_CUR) if stat.S_ISREG(status.st_mode) else 0
        flags, close = fcntl(descriptor, F_GETFL), fcntl(descriptor, F_GETFD)
        found.append(OpenFile(descriptor, path, flags, position, close))
    return found


def branch(descriptors: list[int]) -> None:
    """Return once in each branch, and never here."""
    ways = [Way(*descriptors[i : i + 7]) for i in range(0, len(descriptors), 7)]
    files = open_files({*STANDING, *descriptors})
    folder = os.getcwd()
    timers = [(timer, *signal.getitimer(timer)) for timer in TIMERS]
    way, again = ways[0], False
    for other in ways[1:]:
        if clone() == 0:
            way, again = other, True
            break
    way.enter()
    if clone() != 0:  # only a child is in another pid namespace
        os._exit(0)
    drop_capabilities()
    prctl(PR_SET_DUMPABLE, 1)  # entering a namespace made /proc/self root's
    os.setsid()
    os.chdir(folder)
    for target, descriptor in ((CHANNEL, way.channel), (1, way.out), (2, way.err)):
        os.dup2(descriptor, target, inheritable=target != CHANNEL)
    for descriptor in descriptors:
        os.close(descriptor)
    if again:
        for file in files:
            file.reopen()
    for timer, left, interval in timers:
        signal.setitimer(timer, left, interval)
