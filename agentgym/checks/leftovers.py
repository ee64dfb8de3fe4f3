"""What a component leaves behind: child processes, temporary files, asyncio tasks, open descriptors."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agentgym.checks.harness import Broken

PAUSES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)
"""Seconds between looks, for what was killed to be gone."""


@asynccontextmanager
async def no_leftovers(marked: str = "") -> AsyncIterator[None]:
    """Raises Broken when the body leaves something behind. Temporary files go to a folder of our own meanwhile.

    marked: a word in the command line of processes that must end as well, whoever their parent is by then.
    Processes and descriptors are seen on Linux only.
    """
    tasks, processes, descriptors = asyncio.all_tasks(), descendants(), _descriptors()
    others = _marked(marked)
    with tempfile.TemporaryDirectory(prefix="agentgym-check-") as folder:
        before = tempfile.tempdir
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before
        for pause in PAUSES:
            left = [f"process {pid} ({name})" for pid, name in descendants().items() if pid not in processes]
            left += [f"process {pid}, which a program started" for pid in _marked(marked) - others]
            left += [f"file {path.name}" for path in os.scandir(folder)]
            left += [f"task {task.get_name()}" for task in asyncio.all_tasks() - tasks]
            left += [f"descriptor of {target}" for fd, target in _descriptors().items() if fd not in descriptors]
            if not left:
                return
            await asyncio.sleep(pause)
        raise Broken(f"left behind after close: {', '.join(left)}")


def descendants() -> dict[int, str]:
    """Processes below this one, with their names."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(errors="replace")
        except OSError:  # it ended while we looked
            continue
        head, _, tail = text.rpartition(")")
        pid = int(folder.name)
        names[pid] = head.partition("(")[2]
        children.setdefault(int(tail.split()[1]), []).append(pid)
    found: dict[int, str] = {}
    waiting = [os.getpid()]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found[child] = names[child]
            waiting.append(child)
    return found


def _marked(word: str) -> set[int]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*") if word else ():
        try:
            if word.encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:  # it ended while we looked
            continue
    return found


def _descriptors() -> dict[int, str]:
    found = {}
    for link in Path("/proc/self/fd").glob("*"):
        try:
            found[int(link.name)] = os.readlink(link)
        except OSError:  # the one that lists the folder
            continue
    return found
