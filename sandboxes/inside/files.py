"""Files of the workspace for the host."""

from __future__ import annotations

import errno
import os
import stat


def read_file(path: str, limit: int) -> bytes:
    """A regular file's content; raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, "too large")
    return data


def write_file(path: str, data: bytes) -> None:
    """A new file, and the folders above it; raises OSError."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
