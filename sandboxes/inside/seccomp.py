"""The system-call filter of a session's programs (seccomp(2)).

The list is what they never need and the kernel's other walls do not cover: namespaces, mounts, kernel memory,
other processes' memory, keyrings, io_uring, sockets, System V IPC and message queues, files that no limit counts,
locks on files that sessions share, and whatever would send a process a signal of its choice, by which a stopped
one could wake itself.
setns(2) is left: a session that branches needs it, and without capabilities there is nowhere to go.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import struct
from collections.abc import Callable

from .kernel import MACHINE, check, libc

NUMBERS: dict[str, tuple[int, int]] = {  # name: (x86_64, aarch64); -1: not there
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fcntl": (72, 25),
    "flock": (73, 32),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, -1),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "seccomp": (317, 277),
    "semget": (64, 190),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setpriority": (141, 140),
    "setrlimit": (160, 164),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "timer_create": (222, 107),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_*, column above
SUPPORTED = MACHINE in ARCHITECTURES

NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag of clone(2)
AF_UNIX = 1
F_SETSIG = 10
ONLY = {  # name: (argument, the one value that is let through)
    "socketpair": (0, AF_UNIX),
}

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
SECCOMP_SET_MODE_FILTER = 1


def instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """A struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, k)


def argument(index: int) -> bytes:
    """Load the low half of an argument (little-endian)."""
    return instruction(LOAD, 16 + 8 * index)


REFUSE = instruction(RETURN, ERRNO | errno.EPERM)
ABSENT = instruction(RETURN, ERRNO | errno.ENOSYS)
LET = instruction(RETURN, ALLOW)


def verdict(name: str) -> list[bytes]:
    """What becomes of a call on the list."""
    if name in ONLY:
        index, value = ONLY[name]
        return [argument(index), instruction(EQUAL, value, 0, 1), LET, REFUSE]
    if name == "clone":
        return [argument(0), instruction(ANY_BIT, NEW_NAMESPACES, 0, 1), REFUSE, LET]
    if name == "fcntl":
        return [argument(1), instruction(EQUAL, F_SETSIG, 0, 1), REFUSE, LET]
    if name == "clone3":  # its flags are in memory; libc falls back to clone
        return [ABSENT]
    if name == "prlimit64":  # asking is free
        low, high = argument(2), instruction(LOAD, 36)
        return [low, instruction(EQUAL, 0, 0, 2), high, instruction(EQUAL, 0, 1, 0), REFUSE, LET]
    return [REFUSE]


def beginning() -> list[bytes]:
    """Of every filter: no calls but this machine's, and then the number of the call."""
    architecture, _ = ARCHITECTURES[MACHINE]
    code = [instruction(LOAD, 4), instruction(EQUAL, architecture, 1, 0), instruction(RETURN, KILL)]
    return [*code, instruction(LOAD, 0), instruction(AT_LEAST, 0x40000000, 0, 1), ABSENT]  # x32


def program() -> bytes:
    """The filter for this machine."""
    code, column = beginning(), ARCHITECTURES[MACHINE][1]
    for name, numbers in NUMBERS.items():
        if numbers[column] >= 0:
            body = verdict(name)
            code += [instruction(EQUAL, numbers[column], 0, len(body)), *body]
    return b"".join([*code, LET])


@functools.cache
def compiled(program: Callable[[], bytes]) -> ctypes.Array[ctypes.c_char]:
    """A filter as the kernel takes it; made once, before there are workers."""
    code = program()
    return ctypes.create_string_buffer(code, len(code))


def install(program: Callable[[], bytes] = program) -> None:
    """Put this process and all that it will start under a filter."""
    buffer = compiled(program)
    head = struct.pack("=H6xQ", len(buffer) // 8, ctypes.addressof(buffer))
    number = NUMBERS["seccomp"][ARCHITECTURES[MACHINE][1]]
    check(libc.syscall(number, SECCOMP_SET_MODE_FILTER, 0, head), "seccomp")
