"""The fork server: one process that never runs user code, and forks the keepers of sessions; its zygote forks
their workers.

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
from contextlib import suppress
from typing import Any

from . import seccomp
from .births import Birth
from .keeper import keep
from .keepers import Keepers, Wakeup, send
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
from .world import map_ids
from .zygote import start_zygote


def remove_tree(folder: str) -> None:
    """Delete a folder, however deep, even where its owner took away his own permissions."""
    try:
        os.rmdir(folder)
    except OSError:
        subprocess.run(["sh", "-c", 'chmod -R u+rwx "$0"; rm -rf "$0"', folder], check=False)


class ForkServer:
    """The loop. Without namespaces each session has a folder in `directory`."""

    def __init__(self, config: dict[str, Any], control: socket.socket, pid: int, zygote: socket.socket) -> None:
        self.config = config
        self.control = control
        self.zygote_pid, self.zygote = pid, zygote
        self.keepers = Keepers(config["namespaces"])
        self.folders: dict[int, str] = {}
        self.started = 0
        self.wakeup = Wakeup()
        self.selector = selectors.DefaultSelector()
        for source, handle in ((control, self.obey), (zygote, self.learn), (self.wakeup.reader, self.reap)):
            self.selector.register(source, selectors.EVENT_READ, handle)

    def serve(self) -> None:
        """Obey until the host's end closes; then leave nothing behind."""
        try:
            while True:
                for key, _ in self.selector.select():
                    key.data()
        finally:
            self.end()

    def obey(self) -> None:
        """Start a session; leaves when the host is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, 4096, 16)
        except ConnectionResetError:
            data = b""
        if not data:
            sys.exit()
        self.started += 1
        folder = os.path.join(self.config["directory"], str(self.started))
        control, channel, out, err, *cgroups = descriptors
        birth = Birth(self.config, control, cgroups, "new")
        reason = birth.begin(self.keepers, keep, folder) or birth.ready()
        if reason:
            os.write(err, reason.encode())
            if not birth.keeper:  # whose end would tell the host
                with socket.socket(fileno=os.dup(control)) as end:
                    send(end, {"exit": "setup"})
        else:
            self.folders[birth.keeper] = folder
            place = self.config["directory"] if self.config["namespaces"] else folder
            message = {"keeper": birth.keeper, "folder": place, "entrances": len(birth.entrances)}
            opened = [*birth.entrances, channel, out, err, *cgroups]
            socket.send_fds(self.zygote, [json.dumps(message).encode()], opened)
        birth.close()
        for descriptor in descriptors:
            os.close(descriptor)

    def learn(self) -> None:
        """Whose workers the zygote has started."""
        with suppress(BlockingIOError):
            while words := self.zygote.recv(4096, socket.MSG_DONTWAIT).split():
                self.keepers.know_worker(*map(int, words))
            sys.exit("the zygote has ended")

    def living(self) -> set[int]:
        """Our children, without namespaces: a worker is one after the zygote has told of it."""
        self.learn()
        workers = {worker for worker, keeper in self.keepers.workers.items() if keeper in self.folders}
        return {self.zygote_pid, *self.folders, *workers}

    def reap(self) -> None:
        """What ended; without namespaces, also end what dead keepers left."""
        for pid, status in self.wakeup.ended():
            folder = self.folders.pop(pid, None)
            if folder is not None and not self.config["namespaces"]:
                sweep(self.living)
                remove_tree(folder)
            self.keepers.ended(pid, status)

    def end(self) -> None:
        """Kill every session."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self.config["namespaces"]:
            signal_all({self.zygote_pid, *self.folders, *self.keepers.workers}, signal.SIGKILL)
            with suppress(ChildProcessError):
                while True:  # any of them: a keeper's end waits for its worker, which is our child
                    os.wait()
        else:
            sweep(set)
            remove_tree(self.config["directory"])


def prepare(config: dict[str, Any]) -> None:
    """Drop root, protect the process tree, leave the network."""
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
    config["server"] = os.getpid()
    config["seccomp"] = config["namespaces"] and seccomp.SUPPORTED


def leave_network(uid: int, gid: int) -> None:
    """Enter a network namespace whose only interface, the loopback, is down; the sessions share it, and the
    filter of system calls lets them make no socket.

    One for each session would cost more than their other namespaces together: the kernel makes and unmakes
    them one at a time, machine-wide.
    """
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    map_ids(uid, gid)


def try_session(config: dict[str, Any]) -> None:
    """Make a session's world once; leaves with the reason when that cannot be."""
    keepers = Keepers(config["namespaces"])
    with socket.socket() as nobody:
        birth = Birth(config, nobody.fileno(), [], "new")
        folder = os.path.join(config["directory"], "0")
        reason = birth.begin(keepers, keep, folder) or birth.ready()
        birth.abandon(keepers)
        birth.close()
    if reason:
        sys.exit(f"a session's namespaces cannot be set up: {reason}")
    if not config["namespaces"]:
        os.rmdir(folder)


def main() -> None:
    """Serve the host at the other end of stdin; argv[1] is the configuration as JSON."""
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as null:
        os.dup2(null.fileno(), 0)
    prepare(config)
    pid, zygote = start_zygote(config)
    try_session(config)
    if zygote.recv(100) != b"ready":
        sys.exit("the modules to preload cannot be loaded")
    gc.freeze()
    try:
        control.send(b'{"ready": true}')
    except BrokenPipeError:
        return  # nobody there
    ForkServer(config, control, pid, zygote).serve()
