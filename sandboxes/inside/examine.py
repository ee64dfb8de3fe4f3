"""Looks at a worker from outside: what of it a fork could not copy, or would share."""

from __future__ import annotations

import os
import re
import stat

CHANNEL = 3
STANDING = (0, 1, 2, CHANNEL)
HARMLESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    0: "no file",
}
WRITABLE_SHARED = re.compile(rb" .w.s ")


def obstacle(pid: int, workspace: int) -> str:
    """Why the process cannot be forked exactly; empty if it can. workspace: device of its files."""
    try:
        threads = len(os.listdir(f"/proc/{pid}/task"))
        if threads > 1:
            return f"{threads - 1} thread{'s' if threads > 2 else ''} beside the main one"
        if os.readlink(f"/proc/{pid}/cwd").endswith(" (deleted)"):
            return "its working directory was deleted"
        return _mapped(pid, workspace) or _opened(pid, workspace)
    except PermissionError:
        return "a process that hides from inspection"


def _mapped(pid: int, workspace: int) -> str:
    with open(f"/proc/{pid}/maps", "rb", buffering=0) as file:
        maps = file.readall()
    if shared := WRITABLE_SHARED.search(maps):
        line = maps[shared.start() : maps.index(b"\n", shared.start())].split(maxsplit=4)
        return f"shared memory ({line[4].decode(errors='replace') if len(line) > 4 else 'anonymous'})"
    if f" {os.major(workspace):02x}:{os.minor(workspace):02x} ".encode() in maps:
        return "a file of its workspace that is mapped into memory"
    return ""


def _opened(pid: int, workspace: int) -> str:
    for descriptor in map(int, os.listdir(f"/proc/{pid}/fd")):
        if descriptor not in STANDING:
            found = _shares(f"/proc/{pid}/fd/{descriptor}", workspace)
            if found:
                return f"descriptor {descriptor}, {found}"
    return ""


def _shares(link: str, workspace: int) -> str:
    """What makes an open file impossible to open again; empty if nothing does."""
    status, path = os.stat(link), os.readlink(link)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "special")
        return "" if path in HARMLESS else kind
    if path.endswith(" (deleted)"):
        return "a file that was deleted"
    if status.st_dev != workspace and path.startswith(("/proc/", "/sys/")):
        return f"{path} of the system"
    return ""


def stray(pid: int, workspace: int, standing: list[int]) -> str:
    """What a branch kept that is not its own; empty if nothing. standing: inodes of its streams and channel."""
    for descriptor, inode in zip((1, 2, CHANNEL), standing, strict=True):
        if os.stat(f"/proc/{pid}/fd/{descriptor}").st_ino != inode:
            return f"another descriptor {descriptor} than it was given"
    for descriptor in map(int, os.listdir(f"/proc/{pid}/fd")):
        status = os.stat(f"/proc/{pid}/fd/{descriptor}")
        system = os.statvfs(f"/proc/{pid}/fd/{descriptor}").f_flag & os.ST_RDONLY
        regular = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        if descriptor not in STANDING and regular and status.st_dev != workspace and not system:
            return f"descriptor {descriptor} of another workspace"
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    if any(int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")):
        return "capabilities"
    return obstacle(pid, workspace)
