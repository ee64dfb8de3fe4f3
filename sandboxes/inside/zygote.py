"""The zygote: has the modules loaded that programs use, runs none, and becomes the workers of fresh sessions.

It is apart from the fork server, whose keepers would otherwise each be as large. Messages of the fork server:
`{"keeper": pid, "folder": workspace, "entrances": n}` with descriptors: the entrances, channel, stdout, stderr,
and those of cgroups. Its own: `ready`, once; then a pair of pids, a worker's and its keeper's, for each.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import resource
import signal
import socket
import traceback
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from . import seccomp
from .examine import CHANNEL
from .keepers import arrange, join_cgroups
from .kernel import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, clone, detour, libc, prctl, setns
from .worker import prepare, work

MADV_COLLAPSE = 25
HUGE = 2 << 20
ANONYMOUS = re.compile(r"^(\w+)-(\w+) rw.p \w+ \w+:\w+ 0 ", re.MULTILINE)


def start_zygote(config: dict[str, Any]) -> tuple[int, socket.socket]:
    """Fork it; its pid, and the socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        arrange({CHANNEL: theirs.fileno()})
        live(config, socket.socket(fileno=CHANNEL))
    theirs.close()
    return pid, ours


def live(config: dict[str, Any], server: socket.socket) -> NoReturn:
    """Load, then make one worker after the other until the fork server ends."""
    for module in config["preload"]:
        __import__(module)
    prepare()
    if config["seccomp"]:
        seccomp.compiled(seccomp.program)
    config["address_space"] = config["memory"] + mapped()
    gc.collect()
    gc.freeze()  # the collector would otherwise touch, and so copy, every shared page
    use_huge_pages()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server.send(b"ready")
    while True:
        data, descriptors, _, _ = socket.recv_fds(server, 4096, 32)
        if not data:
            os._exit(0)
        detour(partial(enter, config, server, json.loads(data), descriptors), 0)
        for descriptor in descriptors:
            os.close(descriptor)


def enter(config: dict[str, Any], server: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
    """Clone a worker into the namespaces to which the descriptors open."""
    for entrance in descriptors[: message["entrances"]]:
        setns(entrance, 0)
    # A worker that ends before this process does must be left for the fork server to reap. Python's own record of
    # the signal is the zygote's as well, and stays.
    libc.signal(signal.SIGCHLD, ctypes.c_void_p(0))
    if pid := clone():  # only a child is in another pid namespace
        server.send(f"{pid} {message['keeper']}".encode())
        return
    channel, out, err, *cgroups = descriptors[message["entrances"] :]
    arrange({1: out, 2: err, CHANNEL: channel, **{CHANNEL + 1 + i: fd for i, fd in enumerate(cgroups)}})
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        cgroups = list(range(CHANNEL + 1, CHANNEL + 1 + len(cgroups)))
        join_cgroups(cgroups)
        for descriptor in cgroups:
            os.close(descriptor)
        os.setsid()
        if not config["namespaces"]:
            die_with(config["server"])
            prctl(PR_SET_CHILD_SUBREAPER, 1)  # daemons stay below, so that they are this session's
        os.chdir(message["folder"])
        work(config)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


def die_with(server: int) -> None:
    """Be killed when the fork server, which becomes our parent as soon as the present one ends, ends."""
    parent = os.getppid()
    while os.getppid() == parent and parent != server:
        os.sched_yield()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def mapped() -> int:
    """Bytes of address space that are taken before a program begins."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def use_huge_pages() -> None:
    """Gather our memory in huge pages where the kernel can: a fork then copies fewer entries of page tables. One
    page at a time, since the kernel stops at the first that it cannot gather."""
    for start, end in ANONYMOUS.findall(Path("/proc/self/maps").read_text()):
        first = -(-int(start, 16) // HUGE) * HUGE
        for page in range(first, int(end, 16) // HUGE * HUGE, HUGE):
            libc.madvise(ctypes.c_void_p(page), ctypes.c_size_t(HUGE), MADV_COLLAPSE)
