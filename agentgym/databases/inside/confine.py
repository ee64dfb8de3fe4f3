"""The walls around a world's process: what it may ask of the kernel, and how much.

They are put up once the template is loaded. From then on a world needs memory, its socket, time, and to fork;
every other system call is refused, and so there are no files, no network and no programs, whatever the database
can be talked into.
"""

from __future__ import annotations

import os
import resource

from agentgym.sandboxes.inside import kernel, seccomp
from agentgym.sandboxes.inside.seccomp import ABSENT, ANY_BIT, EQUAL, LET, REFUSE, instruction
from agentgym.sandboxes.inside.zygote import mapped

NOBODY = 65534
DESCRIPTORS = 32
ALLOWED: dict[str, tuple[int, int]] = {  # name: (x86_64, aarch64); -1: not there
    "brk": (12, 214),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fork": (57, -1),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "pipe2": (293, 59),
    "poll": (7, -1),
    "ppoll": (271, 73),
    "read": (0, 63),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "set_robust_list": (273, 99),
    "setitimer": (38, 103),
    "sigaltstack": (131, 132),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "uname": (63, 160),
    "write": (1, 64),
}
CLONE3 = 435
CLONE_THREAD = 0x10000


def confine(memory: int) -> None:
    """Put up the walls around this process and all that it will fork. memory: bytes that it may map besides what
    it has mapped."""
    space = mapped() + memory
    for what, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
    ):
        resource.setrlimit(what, (most, most))
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(program)


def program() -> bytes:
    """The filter of system calls for this machine: refuse all that is not on the list."""
    code, column = seccomp.beginning(), seccomp.ARCHITECTURES[kernel.MACHINE][1]
    for name, numbers in ALLOWED.items():
        if numbers[column] >= 0:
            code += allow(name, numbers[column])
    code += [instruction(EQUAL, CLONE3, 0, 1), ABSENT]  # its flags are in memory; libc falls back to clone
    return b"".join([*code, REFUSE])


def allow(name: str, number: int) -> list[bytes]:
    """Let a call through; a clone only as a plain fork, without threads and namespaces."""
    if name != "clone":
        return [instruction(EQUAL, number, 0, 1), LET]
    flags = instruction(ANY_BIT, seccomp.NEW_NAMESPACES | CLONE_THREAD, 0, 1)
    return [instruction(EQUAL, number, 0, 4), seccomp.argument(0), flags, REFUSE, LET]
