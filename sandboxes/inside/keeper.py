"""The keeper of a session: pid 1 of its namespaces, our code only, and out of the programs' reach.

It holds one end of the session's control socket; when the host closes the other, the session ends. Messages of
the host: `{"branch": n}` with n control sockets, each followed by its cgroups' descriptors; then, when the worker
has split, `{"settle": [[inodes of stdout, stderr and channel], ...]}`. Its own: `{"branched": n}` with the
entrances of n, `{"settled": n}`, `{"refused": reason}`, `{"exit": how}`.

**How a live session forks.** Linux nests namespaces: who is in one sees, and can signal, all in those below, so a
program must never live above another. Therefore a session that forks is split into two new ones, itself and the
fork, side by side in fresh namespaces below this keeper's, and its old process ends. The keeper prepares both
worlds; the worker clones itself into them (a process may enter a user namespace below its own that its user
owns); then the keeper kills whatever is left beside it, and examines both before a program runs again. The kernel
allows 32 levels, and so some 29 forks in a row from one episode's beginning to its end.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
from typing import Any, NoReturn

from .births import Birth
from .examine import obstacle
from .keepers import CONTROL, EXITED, KILLED, WORKER_ENDED, Keepers, Wakeup, send
from .limits import loosen
from .processes import all_pids, exiting, freeze, namespace
from .world import allow_namespaces

ENOUGH_NAMESPACES = 1 << 16


def keep(config: dict[str, Any]) -> NoReturn:
    """Be the keeper of the session whose world has just been built."""
    Keeper(config).serve()


class Keeper:
    """Obeys the host and reaps. Its worker is the child of whoever keeps the level above, who tells of its end."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.control = socket.socket(fileno=CONTROL)
        self.keepers = Keepers(namespaces=True)
        self.branches: list[Birth] = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.control, selectors.EVENT_READ, self.obey)
        self.wakeup = Wakeup()
        self.selector.register(self.wakeup.reader, selectors.EVENT_READ, self.reap)
        for number in WORKER_ENDED:
            signal.signal(number, self.worker_ended)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WORKER_ENDED)

    def serve(self) -> NoReturn:
        """Until the session is over."""
        while True:
            for key, _ in self.selector.select():
                key.data()

    def obey(self) -> None:
        """One message of the host."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, 65536, 253)
        except ConnectionResetError:
            data, descriptors = b"", []
        if not data:
            os._exit(KILLED)
        message = json.loads(data)
        if "branch" in message:
            self.branch(message["branch"], descriptors)
        else:
            self.settle(message["settle"])

    def reap(self) -> None:
        """All that ended below: keepers, their workers, and orphans."""
        for pid, status in self.wakeup.ended():
            self.keepers.ended(pid, status)
        if self.branches and not self.keepers.controls:
            os._exit(EXITED)

    def worker_ended(self, number: int, frame: object) -> None:
        """The keeper above tells that our worker has ended, which is meant when it has split."""
        if not self.branches:
            os._exit(EXITED if number == signal.SIGUSR1 else KILLED)

    def current(self) -> list[int]:
        """Processes that are in this session itself, without the keeper."""
        own = namespace("self")
        others = {os.getpid(), *self.keepers.controls}
        return [pid for pid in all_pids() if pid not in others and namespace(pid) in (own, 0)]

    def branch(self, count: int, descriptors: list[int]) -> None:
        """Make the worlds of `count` branches, the session itself the first of them."""
        each = len(descriptors) // count
        parts = [descriptors[i * each : (i + 1) * each] for i in range(count)]
        births = [
            Birth(self.config, control, cgroups, "copied" if i else "kept")
            for i, (control, *cgroups) in enumerate(parts)
        ]
        reason = self.prepare(births)
        if reason:
            send(self.control, {"refused": reason})
        else:
            self.branches = births
            send(self.control, {"branched": count}, [fd for birth in births for fd in birth.entrances])
        for birth in births:
            birth.close()
            os.close(birth.control)
            if reason or birth is births[0]:  # which stays where it is
                for descriptor in birth.cgroups:
                    os.close(descriptor)

    def prepare(self, births: list[Birth]) -> str:
        """Make the branches' worlds; why that is impossible, or empty."""
        workers = self.current()
        if len(workers) != 1:
            return f"{len(workers) - 1} other process(es) running or not waited for" if workers else "no worker"
        [worker] = workers
        freeze(worker)  # until the new keepers are out of its reach
        reason = self.start_keepers(births, worker)
        os.kill(worker, signal.SIGCONT)
        if not reason:
            loosen(worker)
        return reason

    def start_keepers(self, births: list[Birth], worker: int) -> str:
        """Start the keepers of the branches, and look at the worker meanwhile; why there is no fork, or empty."""
        allow_namespaces(ENOUGH_NAMESPACES)
        reasons = [birth.begin(self.keepers, keep) for birth in births]
        reasons.append(obstacle(worker, os.stat(self.config["directory"]).st_dev))
        reasons += [birth.ready() for birth in births]
        if not any(reasons):
            return ""
        for birth in births:
            birth.abandon(self.keepers)
        allow_namespaces(0)
        return next(filter(None, reasons))

    def settle(self, standing: list[list[int]]) -> None:
        """The branches are there: end what they came from, examine them, and let them go."""
        while left := [pid for pid in self.current() if not exiting(pid)]:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        below: dict[int, list[int]] = {}
        for pid in set(all_pids()) - set(self.keepers.controls):
            below.setdefault(namespace(pid), []).append(pid)
        for birth, inodes in zip(self.branches, standing, strict=True):
            if reason := birth.examine(below.get(birth.namespace, []), inodes):
                send(self.control, {"refused": reason})
                os._exit(KILLED)
            self.keepers.know_worker(birth.worker, birth.keeper)
        send(self.control, {"settled": len(self.branches)})
        for birth in self.branches[1:]:
            birth.group()
        self.selector.unregister(self.control)  # the host's end of it closes now; the branches have their own
