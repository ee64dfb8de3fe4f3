"""Folders whose files are in memory: how weights go from one process to another of the same machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

SHARED = Path("/dev/shm")
LOCK = ".in_use"
"""A file in each folder, locked as long as the process lives that made it."""

_held: list[IO[str]] = []


def memory_folder(prefix: str, need: int, where: str = "") -> Path:
    """A new folder with room for `need` bytes, in memory where the system has such, else among temporary files; or
    in `where`. Those with this prefix that were left by processes which were killed are removed first."""
    homes = [Path(where)] if where else [SHARED, Path(tempfile.gettempdir())]
    for home in homes:
        _remove_left(home, prefix)
    home = next((each for each in homes[:-1] if _has_room(each, need)), homes[-1])
    draft = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=home))
    lock = (draft / LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    _held.append(lock)  # until the process ends, however it does
    return draft.rename(home / draft.name.removeprefix("."))


def _has_room(folder: Path, need: int) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > need


def _remove_left(home: Path, prefix: str) -> None:
    for folder in home.glob(f"{prefix}*"):
        try:
            with (folder / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # somebody has it, or it is somebody else's
            continue
