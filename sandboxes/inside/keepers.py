"""The keepers that one of our processes has started: begin them, and tell the host when they end."""

from __future__ import annotations

import array  # noqa: F401 - as in channel.py
import json
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import Any, NoReturn

from .kernel import PR_SET_PDEATHSIG, SESSION_NAMESPACES, clone, prctl

CONTROL = 4
EXITED, KILLED, SETUP = 0, 1, 2  # exit codes of a keeper
WORKER_ENDED = {signal.SIGUSR1, signal.SIGUSR2}
"""What a keeper is told when its worker has exited, or was killed."""
HOW = {EXITED: "exited", SETUP: "setup"}


def send(control: socket.socket, message: dict[str, Any], descriptors: list[int] = []) -> None:  # noqa: B006
    """A message to a session's host, which may be gone."""
    try:
        socket.send_fds(control, [json.dumps(message).encode()], descriptors)
    except (BrokenPipeError, ConnectionResetError):
        return


def join_cgroups(descriptors: list[int], pid: int = 0) -> None:
    """Move a process (0: this one) into the cgroups behind open `cgroup.procs` files."""
    for descriptor in descriptors:
        os.write(descriptor, str(pid).encode())


class Wakeup:
    """Readable when a child has ended."""

    def __init__(self) -> None:
        self.reader, self.writer = socket.socketpair()
        for end in (self.reader, self.writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def ended(self) -> Iterator[tuple[int, int]]:
        """Pid and wait status of each child that has ended."""
        try:
            while self.reader.recv(4096):
                pass
        except BlockingIOError:
            pass
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                yield ended
        except ChildProcessError:
            return


class Keepers:
    """Living keepers by pid, each with a copy of its session's control socket; and their workers.

    A worker becomes the child of ours when what it was cloned from ends.
    """

    def __init__(self, namespaces: bool) -> None:
        self.namespaces = namespaces
        self.controls: dict[int, socket.socket] = {}
        self.workers: dict[int, int] = {}
        self._unknown: dict[int, int] = {}

    def start(self, control: int, body: Callable[[], NoReturn]) -> int:
        """Fork a keeper that is `body`; its pid. Raises OSError when that is refused."""
        pid = clone(SESSION_NAMESPACES) if self.namespaces else os.fork()
        if pid == 0:
            _run(body)
        self.controls[pid] = socket.socket(fileno=os.dup(control))
        return pid

    def know_worker(self, worker: int, keeper: int) -> None:
        """Whose worker a process is, which the host is told; it may have ended already."""
        self.workers[worker] = keeper
        if keeper in self.controls:
            with suppress(ProcessLookupError):
                pidfd = os.pidfd_open(worker)
                send(self.controls[keeper], {"worker": True}, [pidfd])
                os.close(pidfd)
        if worker in self._unknown:
            self.ended(worker, self._unknown.pop(worker))

    def ended(self, pid: int, status: int) -> None:
        """A child of ours ended: a keeper, the worker of one, or an orphan."""
        if pid in self.controls:
            self.reap(pid, status)
        elif pid in self.workers:
            keeper = self.workers.pop(pid)
            if keeper in self.controls:
                os.kill(keeper, signal.SIGUSR1 if os.WIFEXITED(status) else signal.SIGUSR2)
        else:
            self._unknown[pid] = status

    def reap(self, pid: int, status: int) -> None:
        """A keeper ended, and its session with it: tell the host."""
        control = self.controls.pop(pid)
        how = HOW.get(os.WEXITSTATUS(status), "killed") if os.WIFEXITED(status) else "killed"
        send(control, {"exit": how})
        control.close()


def _run(body: Callable[[], NoReturn]) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        # A worker may be at its end before its keeper listens: a first process ignores what it has no handler for,
        # unless it is blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, WORKER_ENDED)
        for number in (signal.SIGCHLD, *WORKER_ENDED):
            signal.signal(number, signal.SIG_DFL)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        body()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(SETUP)


def arrange(targets: dict[int, int]) -> None:
    """Make descriptors have the numbers that are given for them (target: descriptor); close all others above 2."""
    high = {target: fcntl(fd, F_DUPFD_CLOEXEC, 16) for target, fd in targets.items()}
    for target, descriptor in high.items():
        os.dup2(descriptor, target, inheritable=target < 3)
    for descriptor in range(3, 16):
        if descriptor not in targets:
            os.closerange(descriptor, descriptor + 1)
    os.closerange(16, 1 << 20)
