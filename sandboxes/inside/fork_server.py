"""The fork server: one process that never runs user code, and forks the keepers of sessions.

It is a fresh interpreter in an empty environment, started before any secret is near. Messages of the host on its
control socket (stdin): `{}` with the descriptors of a new session: control, channel, stdout, stderr, and those of
its cgroups. Its own: `{"ready": true}`, once. When the host's end closes, everything below dies.

With namespaces (Linux; see user_namespaces(7)) the keeper is pid 1 of its own pid namespace and its death takes
every process of the session along. Without them it is only their parent, and the fork server, as their subreaper,
hunts down whatever is left.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import seccomp
from .keeper import keep_fresh
from .keepers import Keepers, Wakeup
from .kernel import (
    CLONE_NEWNET,
    CLONE_NEWUSER,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    prctl,
    unshare,
)
from .processes import signal_all, sweep
from .worker import work
from .world import furnish, map_ids


def remove_tree(folder: str) -> None:
    """Delete a folder, however deep, even where its owner took away his own permissions."""
    try:
        os.rmdir(folder)
    except OSError:
        subprocess.run(["sh", "-c", 'chmod -R u+rwx "$0"; rm -rf "$0"', folder], check=False)


class ForkServer:
    """The loop, and the living keepers. Without namespaces each session has a folder in `directory`."""

    def __init__(self, config: dict[str, Any], control: socket.socket) -> None:
        self.config = config
        self.control = control
        self.keepers = Keepers(config["namespaces"])
        self.folders: dict[int, str] = {}
        self.started = 0
        self.wakeup = Wakeup()
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        self.selector.register(self.wakeup.reader, selectors.EVENT_READ)

    def serve(self) -> None:
        """Obey until the host's end closes; then leave nothing behind."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.wakeup.reader:
                    self.reap()
                elif not self.obey():
                    self.end()
                    return

    def obey(self) -> bool:
        """Start a session; False when the host is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, 4096, 16)
        except ConnectionResetError:
            return False
        if not data:
            return False
        self.started += 1
        folder = os.path.join(self.config["directory"], str(self.started))
        pid = self.keepers.start(descriptors[0], lambda: keep_fresh(self.config, folder, descriptors, self.work))
        self.folders[pid] = folder
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def work(self) -> None:
        """A worker's life."""
        work(self.config)

    def reap(self) -> None:
        """End what dead keepers left, and tell their hosts."""
        for pid, status in self.wakeup.ended():
            folder = self.folders.pop(pid, None)
            if folder is None:  # an orphan of a session without namespaces
                continue
            if not self.config["namespaces"]:
                sweep(set(self.folders))
                remove_tree(folder)
            self.keepers.reap(pid, status)

    def end(self) -> None:
        """Kill every session."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal_all(set(self.folders), signal.SIGKILL)
        for pid in self.folders:
            os.waitpid(pid, 0)
        if not self.config["namespaces"]:
            sweep(set())
            remove_tree(self.config["directory"])


def prepare(config: dict[str, Any]) -> None:
    """Drop root, protect the process tree, load what workers share, and try a session's namespaces."""
    if config["drop_to"] is not None:
        os.setgroups([])
        os.setresgid(*[config["drop_to"]] * 3)
        os.setresuid(*[config["drop_to"]] * 3)
    config["uid"], config["gid"] = os.getuid(), os.getgid()
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 1)  # changing the uid made /proc/self root's
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if config["namespaces"]:
        leave_network(config["uid"], config["gid"])
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for module in config["preload"]:
        __import__(module)
    config["address_space"] = config["memory"] + mapped()
    config["seccomp"] = config["namespaces"] and seccomp.SUPPORTED
    if config["namespaces"]:
        try_namespaces(config)


def leave_network(uid: int, gid: int) -> None:
    """Enter a network namespace whose only interface, the loopback, is down; the sessions share it, and the
    filter of system calls lets them make no socket.

    One for each session would cost more than their other namespaces together: the kernel makes and unmakes
    them one at a time, machine-wide.
    """
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    map_ids(uid, gid)


def mapped() -> int:
    """Bytes of address space that are taken before a program begins."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def try_namespaces(config: dict[str, Any]) -> None:
    """Make a session's namespaces once; leaves with the reason when they cannot be had."""

    def trial() -> None:
        furnish(config, "new")
        os._exit(0)

    keepers = Keepers(namespaces=True)
    with socket.socket() as nobody:
        pid = keepers.start(nobody.fileno(), trial)
    status = os.waitpid(pid, 0)[1]
    keepers.controls.pop(pid).close()
    if status != 0:
        sys.exit("a session's namespaces cannot be set up")


def main() -> None:
    """Serve the host at the other end of stdin; argv[1] is the configuration as JSON."""
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as null:
        os.dup2(null.fileno(), 0)
    prepare(config)
    gc.freeze()  # the collector would otherwise touch, and so copy, every shared page
    try:
        control.send(b'{"ready": true}')
    except BrokenPipeError:
        return  # nobody there: this was only a trial
    ForkServer(config, control).serve()
