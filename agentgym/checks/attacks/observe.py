"""What the host's own /proc says of processes that bear a mark, and of the machine."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def processes(mark: str) -> list[int]:
    """Processes whose name or command line bears `mark`, zombies included. Its own is never among them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            named = (folder / "comm").read_text(errors="replace").strip() == mark
            if named or mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status; empty for one that is gone."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {}


def kill(pids: list[int]) -> bool:
    """Kill processes, of which some may be gone and some another user's; False when there were none."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


def count_threads(mark: str) -> float:
    """Threads, and so processes, of those that bear `mark`; zombies count."""
    return sum(int(status(pid).get("Threads", 0)) for pid in processes(mark))


def private_memory(mark: str) -> float:
    """Bytes of memory that the marked processes hold; what they share is shared out among them."""
    return sum(map(proportional_memory, processes(mark)))


def proportional_memory(pid: int) -> int:
    """A process's part in bytes; where the host may not see that, all that belongs to no file."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
    except PermissionError:
        return anonymous_memory(pid)
    except OSError:  # it ended while we looked
        return 0


def anonymous_memory(pid: int) -> int:
    """Bytes of a process's memory that belongs to no file."""
    with suppress(OSError):
        resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
        return (int(resident) - int(shared)) * PAGE
    return 0


def shared_memory(mark: str) -> float:
    """Bytes of shared memory and tmpfs on the whole machine."""
    return meminfo("Shmem")


def used_memory(mark: str) -> float:
    """Bytes of memory on the whole machine that nobody else can have."""
    return meminfo("MemTotal") - meminfo("MemAvailable")


def meminfo(key: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines[key].split()[0]) << 10


def open_files(mark: str) -> float:
    """Open files of the whole machine, also those in flight between sockets."""
    return int(Path("/proc/sys/fs/file-nr").read_text().split()[0])


def used_disk(mark: str) -> float:
    """Bytes on the whole machine's disks that a session might write to, and in its tmpfs."""
    used = sum((found.f_blocks - found.f_bfree) * found.f_frsize for found in map(os.statvfs, disks()))
    return used + meminfo("Shmem")


def disks() -> list[str]:
    """A folder on each of those disks."""
    folders = ["/", "/var/tmp", "/var/lib", "/home", tempfile.gettempdir()]
    return list({os.stat(folder).st_dev: folder for folder in folders if os.path.isdir(folder)}.values())
