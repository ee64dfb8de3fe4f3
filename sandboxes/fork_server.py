"""The fork server: one process that never runs user code, and forks the workers that do.

    host --control socket (stdin)--> fork server --> supervisor, one a session --> worker

It is run by path as a fresh interpreter, so it uses the standard library only. Messages from the host, one
JSON object a packet: `{"spawn": id}` with three descriptors (result channel, stdout, stderr), `{"kill": id}`.
Messages to the host: `{"ready": true}` once, `{"exit": id, "how": "exited" | "killed" | "setup"}`. When the
host's end closes, everything below dies.

With namespaces (Linux; see user_namespaces(7)) the supervisor is pid 1 of its own pid namespace and its death
takes every process of the session along. Without them it is only their parent, and the fork server, as their
subreaper, hunts down whatever is left.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

CHANNEL = 3
EXITED, KILLED, SETUP = 0, 1, 2  # exit codes of a supervisor
HOW = {EXITED: "exited", SETUP: "setup"}

SYS_CLONE3 = 435  # the same on every architecture
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 1, 2, 4, 8, 4096
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
CAPABILITY_VERSION_3 = 0x20080522

# PyDLL keeps the interpreter lock over the call, so that a raw clone never returns without it.
libc = ctypes.PyDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    """`result` of a C call; raises OSError naming the call when it is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def prctl(option: int, value: int) -> None:
    """prctl(2)."""
    check(libc.prctl(option, value, 0, 0, 0), f"prctl({option})")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    check(libc.mount(*arguments), f"mount {target}")


def clone_into_namespaces() -> int:
    """fork(2), the child being pid 1 of new user, pid, mount and IPC namespaces."""
    flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC
    arguments = (ctypes.c_uint64 * 8)(flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    return check(libc.syscall(SYS_CLONE3, arguments, ctypes.sizeof(arguments)), "clone3")


def leave_network(uid: int, gid: int) -> None:
    """Enter a network namespace whose only interface, the loopback, is down; the sessions share it.

    One for each session would cost more than their other namespaces together: the kernel makes and unmakes
    them one at a time, machine-wide.
    """
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNET), "unshare")
    map_ids(uid, gid)


def map_ids(uid: int, gid: int) -> None:
    """Keep one's ids in a fresh user namespace."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path("/proc/self", name).write_text(text)


def drop_capabilities() -> None:
    """Give up every capability; no_new_privs keeps them from coming back."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def furnish(config: dict[str, Any]) -> None:
    """Inside fresh namespaces: map the own uid, mount an own /proc and a bounded workspace, drop capabilities."""
    map_ids(config["uid"], config["gid"])
    workspace = config["directory"]
    options = f"size={config['disk']},nr_inodes=16384,mode=0700"
    mount("tmpfs", workspace, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for alias in config["aliases"]:
        mount(workspace, alias, "", MS_BIND)
    if mount_proc():
        Path("/proc/sys/user/max_user_namespaces").write_text("0")  # no way back to capabilities
    drop_capabilities()


def mount_proc() -> bool:
    """Mount an own /proc, which is allowed where a whole one is in sight. Container daemons mask parts of theirs,
    unless told otherwise; then /proc is empty, and the answer is False."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    try:
        mount("proc", "/proc", "proc", flags)
    except PermissionError:
        mount("tmpfs", "/proc", "tmpfs", flags | MS_RDONLY, "size=4k,mode=0555")
        return False
    return True


def limit(config: dict[str, Any]) -> None:
    """The worker's own limits, inherited by all it starts. Memory is per process."""
    limits = {
        resource.RLIMIT_AS: config["memory"],
        resource.RLIMIT_FSIZE: config["disk"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
    if config["namespaces"]:  # counted within the session's own user namespace
        limits[resource.RLIMIT_NPROC] = config["processes"] + 1
    for what, value in limits.items():
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def supervise(config: dict[str, Any], session: int, descriptors: list[int]) -> NoReturn:
    """Become the supervisor: prepare the session's world, fork its worker, report how that ended."""
    for target, descriptor in zip((CHANNEL, 1, 2), descriptors, strict=False):
        os.dup2(descriptor, target, inheritable=target != CHANNEL)
    os.closerange(CHANNEL + 1 if descriptors else CHANNEL, 1 << 20)
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    Path("/proc/self/oom_score_adj").write_text("1000")  # short of memory, the session goes before its keepers
    workspace = config["directory"]
    if config["namespaces"]:
        furnish(config)
    else:
        workspace = os.path.join(workspace, str(session))
        os.mkdir(workspace, 0o700)
    os.chdir(workspace)
    if not descriptors:
        os._exit(EXITED)
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # daemons stay below, so that they are this session's
    prctl(PR_SET_DUMPABLE, 0)  # out of the worker's ptrace
    worker = os.fork()
    if worker == 0:
        prctl(PR_SET_DUMPABLE, 1)
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        limit(config)
        config["work"](CHANNEL, workspace, config["memory"])
    os.closerange(0, CHANNEL + 1)
    while True:
        pid, status = os.wait()
        if pid == worker:
            os._exit(EXITED if os.WIFEXITED(status) else KILLED)


def start(config: dict[str, Any], session: int, descriptors: list[int]) -> int:
    """Fork a supervisor; its pid. Without descriptors it only tries its preparations."""
    pid = clone_into_namespaces() if config["namespaces"] else os.fork()
    if pid == 0:
        try:
            supervise(config, session, descriptors)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(SETUP)
    return pid


def children(pid: int) -> set[int]:
    """Children of a process; empty when it is gone."""
    try:
        lists = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        return {int(child) for file in lists for child in file.read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def signal_all(pids: set[int], number: int) -> None:
    """Signal processes, some of which may be gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def sweep(ours: set[int]) -> None:
    """Kill and reap what dead supervisors left: our children that are not `ours`, and all below them."""
    while orphans := children(os.getpid()) - ours:
        seen: set[int] = set()
        frontier = orphans
        while frontier:  # stopped first, so that nobody forks while we look
            signal_all(frontier, signal.SIGSTOP)
            seen |= frontier
            below = set().union(*map(children, seen))
            frontier = below - seen
        signal_all(seen, signal.SIGKILL)
        for pid in orphans:
            os.waitpid(pid, 0)


def remove_tree(folder: str) -> None:
    """Delete a folder, however deep, even where its owner took away his own permissions."""
    try:
        os.rmdir(folder)
    except OSError:
        subprocess.run(["sh", "-c", 'chmod -R u+rwx "$0"; rm -rf "$0"', folder], check=False)


class Sessions:
    """The fork server's loop and its living supervisors, by session id."""

    def __init__(self, config: dict[str, Any], control: socket.socket) -> None:
        self.config = config
        self.control = control
        self.pids: dict[int, int] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)

    def serve(self) -> None:
        """Obey until the host's end closes; then leave nothing behind."""
        while True:
            for key, _ in self.selector.select():
                if key.data is not None:
                    self.reap(key.fd, key.data)
                elif not self.obey():
                    self.end()
                    return

    def obey(self) -> bool:
        """Handle one message; False when the host is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, 4096, 3)
        except ConnectionResetError:
            return False
        if not data:
            return False
        message = json.loads(data)
        if "spawn" in message:
            session = message["spawn"]
            pid = self.pids[session] = start(self.config, session, descriptors)
            self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, session)
            for descriptor in descriptors:
                os.close(descriptor)
        elif message["kill"] in self.pids:
            os.kill(self.pids[message["kill"]], signal.SIGKILL)
        return True

    def reap(self, pidfd: int, session: int) -> None:
        """A supervisor ended: end what it left, and tell the host."""
        self.selector.unregister(pidfd)
        os.close(pidfd)
        status = os.waitpid(self.pids.pop(session), 0)[1]
        if not self.config["namespaces"]:
            sweep(set(self.pids.values()))
            remove_tree(os.path.join(self.config["directory"], str(session)))
        how = HOW.get(os.WEXITSTATUS(status), "killed") if os.WIFEXITED(status) else "killed"
        try:
            self.control.send(json.dumps({"exit": session, "how": how}).encode())
        except BrokenPipeError:
            return  # the host is gone; its closed end is the next event

    def end(self) -> None:
        """Kill every session."""
        signal_all(set(self.pids.values()), signal.SIGKILL)
        for pid in self.pids.values():
            os.waitpid(pid, 0)
        if not self.config["namespaces"]:
            sweep(set())
            remove_tree(self.config["directory"])


def prepare(config: dict[str, Any]) -> None:
    """Drop root, protect the process tree, load what workers share, and try one supervisor."""
    config["work"] = runpy.run_path(config["worker"])["work"]
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
    status = os.waitpid(start(config, 0, []), 0)[1]
    if status != 0:
        sys.exit("a session's namespaces cannot be set up")
    if not config["namespaces"]:
        os.rmdir(os.path.join(config["directory"], "0"))


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
    Sessions(config, control).serve()


if __name__ == "__main__":
    main()
