"""The worker's part of a fork: it clones itself into worlds that its keeper has prepared (see keeper.py)."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import F_GETFD, F_GETFL, F_SETFD, fcntl
from functools import partial
from typing import NamedTuple, NoReturn

from .examine import CHANNEL, HARMLESS, STANDING
from .kernel import clone, detour, drop_capabilities, setns

TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
AS_NEW = os.O_CREAT | os.O_EXCL | os.O_TRUNC


class Way(NamedTuple):
    """Into one branch: its namespaces, and what will be its channel and streams."""

    user: int
    pid: int
    mount: int
    channel: int
    out: int
    err: int

    def enter(self) -> None:
        """Go into the namespaces; they need not be named, a descriptor is of one kind."""
        for namespace in (self.user, self.pid, self.mount):
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


@dataclass(frozen=True)
class State:
    """What a clone does not take along by itself. level: how often its line has branched."""

    files: list[OpenFile]
    folder: str
    timers: list[tuple[int, float, float]]
    descriptors: list[int]
    level: int

    @classmethod
    def now(cls, descriptors: list[int], level: int) -> State:
        """That of this process. descriptors: those received for branching."""
        timers = [(timer, *signal.getitimer(timer)) for timer in TIMERS]
        return cls(open_files({*STANDING, *descriptors}), os.getcwd(), timers, descriptors, level)

    def settle_in(self, way: Way, first: bool) -> None:
        """Take it up on the other side, `first` with the workspace that was there."""
        drop_capabilities()
        os.setsid()
        os.chdir(self.folder)
        for target, descriptor in ((CHANNEL, way.channel), (1, way.out), (2, way.err)):
            os.dup2(descriptor, target, inheritable=target != CHANNEL)
        for descriptor in self.descriptors:
            os.close(descriptor)
        if not first:
            for file in self.files:
                file.reopen()
        for timer, left, interval in self.timers:
            signal.setitimer(timer, left, interval)


def branch(descriptors: list[int], level: int, go_on: Callable[[], NoReturn]) -> NoReturn:
    """Be `go_on` in each branch, and end here. level: how often this line has branched before."""
    ways = [Way(*descriptors[i : i + 6]) for i in range(0, len(descriptors), 6)]
    state = State.now(descriptors, level)
    for way in ways:
        detour(partial(_enter, way, state, way is ways[0], go_on), level)
    os._exit(0)


def _enter(way: Way, state: State, first: bool, go_on: Callable[[], NoReturn]) -> None:
    way.enter()
    if clone() == 0:  # only a child is in another pid namespace
        try:
            state.settle_in(way, first)
        except BaseException:
            os._exit(1)  # half a branch must not go on as if it were the session
        go_on()
