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
from collections.abc import Callable
from typing import Any, NoReturn

from .examine import CHANNEL, obstacle, stray
from .keepers import CONTROL, EXITED, KILLED, SERVER_ERR, Keepers, Wakeup, arrange, join_cgroups, send
from .kernel import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, PR_SET_PDEATHSIG, prctl
from .limits import loosen, tighten
from .processes import all_pids, children, freeze, namespace
from .world import Workspace, allow_namespaces, furnish

Work = Callable[[], None]
ENOUGH_NAMESPACES = 1 << 16
ENTRANCES = ("user", "pid", "mnt", "ipc")  # in the order in which one enters


def keep_fresh(config: dict[str, Any], folder: str, descriptors: list[int], work: Work) -> NoReturn:
    """Be the keeper of a fresh session. descriptors: control, channel, stdout, stderr, and those of cgroups."""
    control, channel, out, err, *cgroups = descriptors
    places = range(SERVER_ERR + 1, SERVER_ERR + 1 + len(cgroups))
    standing = {1: out, 2: err, CHANNEL: channel, CONTROL: control, SERVER_ERR: 2}
    arrange({**standing, **dict(zip(places, cgroups, strict=True))})
    if config["namespaces"]:
        furnish(config, "new")
        folder = config["directory"]
    else:
        os.mkdir(folder, 0o700)
    os.chdir(folder)
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # daemons stay below, so that they are this session's
    prctl(PR_SET_DUMPABLE, 0)  # out of the worker's ptrace
    worker = os.fork()
    if worker == 0:
        join_cgroups(list(places))  # not the keeper: it may have to outlive the session, for the sake of a fork
        os.closerange(CONTROL, places.stop)
        prctl(PR_SET_DUMPABLE, 1)
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        work()
    arrange({1: 0, 2: SERVER_ERR, CONTROL: CONTROL})
    Keeper(config, worker).serve()


def keep_branch(config: dict[str, Any], control: int, ready: int, workspace: Workspace) -> None:
    """Be the keeper of a branch whose worker is to come. ready: a socket, given its pid namespace, the device of
    its workspace and the entrances for the worker; or what went wrong."""
    arrange({CONTROL: control, CHANNEL: ready})
    try:
        prctl(PR_SET_DUMPABLE, 1)  # for /proc/self to be ours
        furnish(config, workspace)
        identity = [namespace("self"), os.stat(config["directory"]).st_dev]
        entrances = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ENTRANCES]
        prctl(PR_SET_DUMPABLE, 0)
    except Exception as error:
        os.write(CHANNEL, f"{type(error).__name__}: {error}".encode()[:1000])
        return
    keeper = Keeper(config, None)
    with socket.socket(fileno=CHANNEL) as above:
        socket.send_fds(above, [json.dumps(identity).encode()], entrances)
    for descriptor in entrances:
        os.close(descriptor)
    keeper.serve()


class Keeper:
    """Obeys the host and reaps. worker: its pid, None in a branch, where the keeper above tells how it ended."""

    def __init__(self, config: dict[str, Any], worker: int | None) -> None:
        self.config = config
        self.worker = worker
        self.control = socket.socket(fileno=CONTROL)
        self.keepers = Keepers(namespaces=True)
        self.branches: list[Branch] = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.control, selectors.EVENT_READ, self.obey)
        self.wakeup = Wakeup()
        self.selector.register(self.wakeup.reader, selectors.EVENT_READ, self.reap)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self.worker_ended)

    def serve(self) -> NoReturn:
        """Until the session is over."""
        self.reap()  # what ended before there was a handler
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
        """All that ended below."""
        for pid, status in self.wakeup.ended():
            self.ended(pid, status)
        if self.branches and not self.keepers.controls:
            os._exit(EXITED)

    def ended(self, pid: int, status: int) -> None:
        """A child ended: our worker, a keeper below, the worker of one, or an orphan."""
        exited = os.WIFEXITED(status)
        if pid == self.worker and not self.branches:
            os._exit(EXITED if exited else KILLED)
        elif pid in self.keepers.controls:
            self.keepers.reap(pid, status)
        for branch in self.branches:
            if branch.worker == pid and branch.keeper in self.keepers.controls:
                os.kill(branch.keeper, signal.SIGUSR1 if exited else signal.SIGUSR2)

    def worker_ended(self, number: int, frame: object) -> None:
        """The keeper above tells that this branch's worker has ended, which is meant when it has split itself."""
        if not self.branches:
            os._exit(EXITED if number == signal.SIGUSR1 else KILLED)

    def current(self) -> list[int]:
        """Processes that are in this session itself, without the keeper."""
        own = namespace("self")
        others = {os.getpid(), *self.keepers.controls}
        return [pid for pid in all_pids() if pid not in others and namespace(pid) in (own, 0)]

    def refuse(self, reason: str) -> None:
        """Say why there is no fork."""
        send(self.control, {"refused": reason})

    def branch(self, count: int, descriptors: list[int]) -> None:
        """Make the worlds of `count` branches, the session itself the first of them."""
        each = len(descriptors) // count
        parts = [descriptors[i * each : (i + 1) * each] for i in range(count)]
        try:
            reason = self.begin_branches(parts)
            if reason:
                self.refuse(reason)
                return
            entrances = [descriptor for branch in self.branches for descriptor in branch.entrances]
            send(self.control, {"branched": count}, entrances)
            for descriptor in entrances:
                os.close(descriptor)
        finally:
            for control, *cgroups in parts:
                for descriptor in (control, *cgroups):
                    os.close(descriptor)

    def begin_branches(self, parts: list[list[int]]) -> str:
        """Make the branches' worlds; why that is impossible, or empty."""
        workers = self.current()
        if len(workers) != 1:
            return f"{len(workers) - 1} other process(es) running or not waited for" if workers else "no worker"
        [worker] = workers
        freeze(worker)  # until the new keepers are out of its reach
        try:
            reason = obstacle(worker, os.stat(self.config["directory"]).st_dev) or self.start_keepers(parts)
        except PermissionError:
            reason = "a process that hides from inspection"
        finally:
            os.kill(worker, signal.SIGCONT)
        if not reason:
            loosen(worker)
        return reason

    def start_keepers(self, parts: list[list[int]]) -> str:
        """Start the keepers of the branches; why that is impossible, or empty."""
        allow_namespaces(ENOUGH_NAMESPACES)
        begun = [Branch(self, control, cgroups, first=not i) for i, (control, *cgroups) in enumerate(parts)]
        reasons = [reason for branch in begun if (reason := branch.begin())]
        reasons += [reason for branch in begun if (reason := branch.ready())]
        if not reasons:
            self.branches = begun
            return ""
        for branch in begun:
            branch.abandon()
        allow_namespaces(0)
        return reasons[0]

    def settle(self, standing: list[list[int]]) -> None:
        """The branches are there: end what they came from, examine them, and let them go."""
        while left := self.current():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                except (ProcessLookupError, ChildProcessError):
                    continue
        for pid in children(os.getpid()) - set(self.keepers.controls):
            for branch in self.branches:
                if branch.namespace == namespace(pid):
                    branch.workers.append(pid)
        for branch, inodes in zip(self.branches, standing, strict=True):
            reason = branch.examine(inodes)
            if reason:
                self.refuse(reason)
                os._exit(KILLED)
        send(self.control, {"settled": len(self.branches)})
        self.selector.unregister(self.control)  # the host's end of it closes now; the branches have their own


class Branch:
    """A branch while it is made. first: the session itself, whose files stay as they are."""

    def __init__(self, above: Keeper, control: int, cgroups: list[int], first: bool) -> None:
        self.above = above
        self.control = control
        self.cgroups = [os.dup(descriptor) for descriptor in cgroups]
        self.first = first
        self.keeper = 0
        self.socket, self.ready_end = socket.socketpair()
        self.entrances: list[int] = []
        self.namespace = self.workspace = 0  # pid namespace, device of its files
        self.workers: list[int] = []

    @property
    def worker(self) -> int:
        """Its pid here, 0 before it is known."""
        return self.workers[0] if self.workers else 0

    def begin(self) -> str:
        """Start its keeper; why that is impossible, or empty."""
        config, ready = self.above.config, self.ready_end.fileno()
        workspace: Workspace = "kept" if self.first else "copied"
        try:
            self.keeper = self.above.keepers.start(
                self.control, lambda: keep_branch(config, self.control, ready, workspace)
            )
        except OSError as error:
            return f"no more namespaces, as after some 29 forks in a row ({error.strerror})"
        finally:
            self.ready_end.close()
        return ""

    def ready(self) -> str:
        """Wait for its keeper; what went wrong, or empty."""
        if not self.keeper:
            return "not begun"
        data, self.entrances, _, _ = socket.recv_fds(self.socket, 1000, len(ENTRANCES))
        self.socket.close()
        said = data.decode(errors="replace")
        if not said.startswith("["):
            return said or "no keeper for it"
        self.namespace, self.workspace = json.loads(said)
        return ""

    def abandon(self) -> None:
        """End its keeper."""
        for descriptor in self.entrances:
            os.close(descriptor)
        if self.keeper:
            os.kill(self.keeper, signal.SIGKILL)
            self.above.keepers.reap(self.keeper, os.waitpid(self.keeper, 0)[1])

    def examine(self, standing: list[int]) -> str:
        """What is wrong with the branch, or empty; then it has a fresh session's limits."""
        if len(self.workers) != 1:
            return f"it became {len(self.workers)} processes"
        [worker] = self.workers
        try:
            if reason := stray(worker, self.workspace, standing):
                return f"it kept {reason}"
            tighten(worker, self.above.config)
            join_cgroups(self.cgroups, worker)
        except (FileNotFoundError, ProcessLookupError):
            return "it ended"
        except PermissionError:
            return "it hides from inspection"
        for descriptor in self.cgroups:
            os.close(descriptor)
        return ""
