"""The system-call filter of a session (seccomp(2)): a deny-list, and a few calls that its keeper decides.

The list is what the programs of a session never need and the kernel's other walls do not cover: namespaces,
mounts, kernel memory, other processes' memory, keyrings, io_uring, sockets, System V IPC and message queues.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from fcntl import ioctl
from typing import NamedTuple

from agentgym.sandboxes.inside.kernel import MACHINE, SESSION_NAMESPACES, check, libc

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
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
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
    "setns": (308, 268),
    "setpriority": (141, 140),
    "setrlimit": (160, 164),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_*, column above
SUPPORTED = MACHINE in ARCHITECTURES

DECIDED = ("kill", "tkill", "tgkill", "unshare")  # by the keeper
GUARDED = {  # name: (argument, values that are refused)
    "fcntl": (1, (8, 10, 15)),  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to anyone
    "ioctl": (1, (0x8901, 0x8902, 0x5412, 0x541C)),  # FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX
}

ALLOW, NOTIFY, KILL, ERRNO = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
FILTER_NEW_LISTENER = 8
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(MACHINE, 0)
NOTIFICATION, ANSWER, ADD = 80, 24, 24  # sizes of struct seccomp_notif, _resp and _addfd
RECEIVE, SEND, ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40182103
CONTINUE = 1


class Request(NamedTuple):
    """A call that waits for a decision. pid: the calling thread, as the keeper sees it."""

    id: int
    pid: int
    call: str
    arguments: tuple[int, ...]


def instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """A struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, k)


def argument(index: int) -> bytes:
    """Load the low half of an argument (little-endian)."""
    return instruction(LOAD, 16 + 8 * index)


def program() -> bytes:
    """The filter for this machine."""
    architecture, column = ARCHITECTURES[MACHINE]
    refuse, allow = instruction(RETURN, ERRNO | errno.EPERM), instruction(RETURN, ALLOW)
    code = [instruction(LOAD, 4), instruction(EQUAL, architecture, 1, 0), instruction(RETURN, KILL)]
    code += [
        instruction(LOAD, 0),
        instruction(AT_LEAST, 0x40000000, 0, 1),
        instruction(RETURN, ERRNO | errno.ENOSYS),
    ]
    for name, numbers in NUMBERS.items():
        if name in GUARDED:
            index, values = GUARDED[name]
            body = [argument(index)]
            for value in values:
                body += [instruction(EQUAL, value, 0, 1), refuse]
            body += [allow]
        elif name == "clone":  # new namespaces are the keeper's affair
            body = [argument(0), instruction(ANY_BIT, SESSION_NAMESPACES | 0x46000000, 0, 1)]
            body += [instruction(RETURN, NOTIFY), allow]
        elif name == "clone3":  # its flags are in memory; libc falls back to clone
            body = [instruction(RETURN, ERRNO | errno.ENOSYS)]
        elif name == "prlimit64":  # asking is free
            body = [argument(2), instruction(EQUAL, 0, 0, 2), instruction(LOAD, 36)]
            body += [instruction(EQUAL, 0, 1, 0), refuse, allow]
        else:
            body = [instruction(RETURN, NOTIFY)] if name in DECIDED else [refuse]
        if numbers[column] >= 0:
            code += [instruction(EQUAL, numbers[column], 0, len(body)), *body]
    return b"".join([*code, allow])


def install() -> int:
    """Put this process and all that it will start under the filter; the descriptor on which calls wait."""
    code = program()
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(buffer))
    return check(libc.syscall(SYS_SECCOMP, 1, FILTER_NEW_LISTENER, head), "seccomp")


def receive(listener: int) -> Request | None:
    """The next waiting call; None when its caller died meanwhile."""
    data = bytearray(NOTIFICATION)
    try:
        ioctl(listener, RECEIVE, data)
    except FileNotFoundError:
        return None
    id_, pid, _, number, _, _, *arguments = struct.unpack("=QIIiIQ6Q", data)
    column = ARCHITECTURES[MACHINE][1]
    name = next(name for name, numbers in NUMBERS.items() if numbers[column] == number)
    return Request(id_, pid, name, tuple(arguments))


def answer(listener: int, request: Request, error: int = 0, proceed: bool = False) -> None:
    """Return from the call with -error or 0, or let it proceed."""
    try:
        ioctl(listener, SEND, struct.pack("=QqiI", request.id, 0, -error, CONTINUE if proceed else 0))
    except FileNotFoundError:
        return  # the caller died meanwhile


def add_descriptor(listener: int, request: Request, ours: int, theirs: int) -> None:
    """Give the waiting caller our descriptor as its number `theirs`."""
    ioctl(listener, ADD_DESCRIPTOR, struct.pack("=QIIII", request.id, 1, ours, theirs, 0))
