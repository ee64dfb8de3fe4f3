"""Control groups around sessions: memory, processes and processor time of all that a session started, together.

Versions 1 and 2 both occur (and mixed: controllers of one, none of the other). A group is a folder; a process
joins by a write to its `cgroup.procs`, which is opened here, with our rights, and handed in.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

PREFIX = "agentgym-"
PERIOD = 100_000  # microseconds over which processor time is counted
REMOVE_SECONDS = 5.0
_numbers = count()


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one session: bytes, processes, processors."""

    memory: int
    processes: int
    cpus: float


class Cgroups:
    """Groups below folders of our own. `missing` says why there are none, or which limits there are not."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        found, self.missing = places()
        self.parents: list[Path] = []
        for place in found:
            remove_stale(place)
            try:
                (place / name).mkdir()
                _pass_on(place / name)
            except OSError as error:
                self.missing = f"{place}: {error.strerror}"
                continue
            self.parents.append(place / name)

    def has(self, controller: str) -> bool:
        """Whether a controller (memory, pids, cpu) is there."""
        files = {"memory": ("memory.max", "memory.limit_in_bytes"), "pids": ("pids.max",)}
        wanted = files.get(controller, ("cpu.max", "cpu.cfs_quota_us"))
        return any((parent / name).exists() for parent in self.parents for name in wanted)

    def make(self) -> Cgroup:
        """A group for one session."""
        name = str(next(_numbers))
        group = Cgroup([parent / name for parent in self.parents])
        for folder in group.folders:
            folder.mkdir()
            self._limit(folder)
        return group

    def _limit(self, folder: Path) -> None:
        limits = self.limits
        quota = int(limits.cpus * PERIOD)
        values = {
            "memory.limit_in_bytes": str(limits.memory),
            "memory.memsw.limit_in_bytes": str(limits.memory),
            "memory.max": str(limits.memory),
            "memory.swap.max": "0",
            "pids.max": str(limits.processes),
            "cpu.cfs_quota_us": str(quota),
            "cpu.max": f"{quota} {PERIOD}",
        }
        for name, value in values.items():
            if (folder / name).exists():
                (folder / name).write_text(value)

    def close(self) -> None:
        """Remove our folders."""
        for parent in self.parents:
            for folder in (*parent.glob("*/"), parent):
                remove(folder)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One session's group: a folder in each hierarchy."""

    folders: list[Path]

    def open(self) -> list[int]:
        """Descriptors by which processes join."""
        return [os.open(folder / "cgroup.procs", os.O_WRONLY) for folder in self.folders]

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed for memory here."""
        for folder in self.folders:
            for name in ("memory.oom_control", "memory.events"):
                with suppress(FileNotFoundError):
                    words = (folder / name).read_text().split()
                    return int(words[words.index("oom_kill") + 1]) > 0
        return False

    def remove(self) -> None:
        """Delete it, once nothing is in it."""
        for folder in self.folders:
            remove(folder)


def remove(folder: Path) -> None:
    """Delete a group. What is left in it, as when a fork server without namespaces was killed, is killed; and the
    kernel may need a moment after the last process has gone."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            for pid in (folder / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.001)


def places() -> tuple[list[Path], str]:
    """Folders below which groups can be made, one for each hierarchy that has a controller; else why not."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    own = dict(_own_group(line) for line in Path("/proc/self/cgroup").read_text().splitlines())
    found = []
    for _, target, kind, options, *_ in mounts:
        if kind == "cgroup":
            names = [name for name in ("memory", "pids", "cpu") if name in options.split(",")]
            if names:
                found.append(Path(target + own.get(names[0], "/")))
        elif kind == "cgroup2":
            found += _unified(Path(target), Path(target + own.get("", "/")))
    usable = [place for place in dict.fromkeys(found) if os.access(place, os.W_OK)]
    if usable:
        return usable, ""
    return [], "no control group that we may write to" if found else "no control groups that pass on limits"


def _pass_on(folder: Path) -> None:
    """In version 2 groups have those controllers that the folder above them passes on."""
    offered = folder / "cgroup.controllers"
    if offered.exists():
        there = offered.read_text().split()
        wanted = [f"+{name}" for name in ("memory", "pids", "cpu") if name in there]
        (folder / "cgroup.subtree_control").write_text(" ".join(wanted))


def _own_group(line: str) -> tuple[str, str]:
    _, names, path = line.split(":", 2)
    return names.split(",")[0] if "memory" not in names else "memory", path.rstrip("/")


def _unified(top: Path, own: Path) -> list[Path]:
    """Where version 2 lets us limit groups: a folder that passes its controllers on."""
    for place in (own, *own.parents):
        control = place / "cgroup.subtree_control"
        if control.is_file() and {"memory", "pids"} <= set(control.read_text().split()):
            return [place]
        if place == top:
            break
    return []


def remove_stale(place: Path) -> None:
    """Delete what hosts that were killed have left."""
    for folder in place.glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            for group in [*folder.glob("*/"), folder]:
                with suppress(OSError):  # another host does the same
                    group.rmdir()
