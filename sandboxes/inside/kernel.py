"""System calls that Python does not offer."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

MACHINE = platform.machine()
SYS_CLONE = {"x86_64": 56, "aarch64": 220}.get(MACHINE, 0)

CLONE_VM, CLONE_VFORK = 0x100, 0x4000
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
SESSION_NAMESPACES = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 1, 2, 4, 8, 4096
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
CAPABILITY_VERSION_3 = 0x20080522
STACK_STEP = 1 << 16
STARTSTACK = 25  # field of /proc/PID/stat, counted after the name

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


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """setns(2)."""
    check(libc.setns(descriptor, flags), "setns")


def clone(flags: int = 0) -> int:
    """fork(2) with flags, and without the hooks that Python and libc would run (`random` reseeds itself in one):
    the child is exactly the parent.

    It even believes to have the parent's thread id, which is right only at the same number in a new namespace.
    """
    none = ctypes.c_long(0)
    return check(libc.syscall(SYS_CLONE, ctypes.c_long(flags | signal.SIGCHLD), none, none, none, none), "clone")


def detour(body: Callable[[], None], level: int) -> None:
    """Run `body` in a process of its own that shares our memory, and wait for its end.

    It costs next to nothing, whatever our size; it may enter namespaces, and clone itself there, whereupon the
    clone must never return from `body`, and the process itself must. It runs on our
    own stack (newer Pythons take any other for an overflow), further down: `level` counts how often a process and
    what it was cloned from have gone this way without coming back.
    """
    bottom = int(Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()[STARTSTACK])
    stack = ctypes.c_void_p(bottom - STACK_STEP * (level + 1))
    flags = CLONE_VM | CLONE_VFORK | signal.SIGCHLD

    def run(_: object) -> int:  # must return, since what the interpreter keeps about its stack is shared as well
        try:
            body()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        return 0

    check(libc.clone(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(run), stack, flags, None), "clone")


def drop_capabilities() -> None:
    """Give up every capability; no_new_privs keeps them from coming back."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
