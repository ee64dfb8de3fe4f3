"""What sessions could leave behind on this machine."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from agentgym.sandboxes.hosting.cgroups import PREFIX, places
from agentgym.sandboxes.inside.kernel import PR_SET_CHILD_SUBREAPER, prctl
from tests.living import living


class Present(NamedTuple):
    """processes: below this one. descriptors: of this one. groups: control groups of this process and those below
    it. mounts: but for those of docker, whose containers come and go. files: in the folder for temporary ones.
    """

    processes: set[int]
    mounts: set[str]
    groups: set[str]
    descriptors: set[str]
    files: set[str]


def children(pid: int) -> list[int]:
    """Those of a process that live."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [*map(int, (task / "children").read_text().split())]
    return [child for child in found if living(child)]


def below(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from below(child)


def present(temporary: Path, *owners: int) -> Present:
    """All of it. owners: processes whose control groups count, beside our own."""
    gc.collect()
    groups = [place.glob(f"{PREFIX}{pid}-*") for place in places()[0] for pid in (os.getpid(), *owners)]
    return Present(
        set(below(os.getpid())),
        {mount for mount in Path("/proc/self/mountinfo").read_text().splitlines() if "docker" not in mount},
        {str(folder) for each in groups for folder in each},
        set(os.listdir("/proc/self/fd")),
        set(os.listdir(temporary)),
    )


def assert_nothing_new(before: Present, after: Present) -> None:
    """What ended meanwhile may have been somebody else's."""
    assert {name: new for name in Present._fields if (new := getattr(after, name) - getattr(before, name))} == {}


@contextmanager
def orphans_are_ours() -> Iterator[None]:
    """Processes whose parents end become our children, so that none gets out of sight."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)


def kill_fork_server(owner: int, outer: bool) -> bool:
    """Kill the fork server of the host in a process, or, outer, the bubblewrap around it; False without one."""
    for bwrap in children(owner):
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{bwrap}/comm").read_text() == "bwrap\n":
                for pid in [bwrap] if outer else children(bwrap):
                    os.kill(pid, signal.SIGKILL)
                    return True
    return False
