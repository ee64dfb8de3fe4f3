"""Folders whose files are in memory: how weights go from one process to another of the same machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")


def memory_folder(prefix: str, need: int, where: str = "") -> Path:
    """A new folder with room for `need` bytes, in memory where the system has such, else among temporary files; or
    in `where`."""
    in_memory = SHARED.is_dir() and os.access(SHARED, os.W_OK) and shutil.disk_usage(SHARED).free > need
    return Path(tempfile.mkdtemp(prefix=prefix, dir=where or (SHARED if in_memory else None)))
