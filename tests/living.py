"""Whether a process is still there."""

from __future__ import annotations

from pathlib import Path


def living(pid: int) -> bool:
    """False for one that has ended and was not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
