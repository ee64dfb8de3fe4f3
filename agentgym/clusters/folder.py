"""Whether the run's directory is the same folder on all machines that need it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agentgym.errors import ConfigError

MARK = ".on_all_machines"
"""A file in the folder."""


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """text: what the mark says here, and so wherever the folder is the same."""

    path: Path
    text: str

    def check(self) -> None:
        """Raises ConfigError where this machine has another folder, or none, at the path."""
        try:
            seen = (self.path / MARK).read_text(encoding="utf-8")
        except OSError:
            seen = ""
        if seen != self.text:
            raise ConfigError(
                f"output_dir: {self.path} is not the same folder on all machines. The learner writes there, and "
                "goes on from there on another machine when its own is lost: name a folder that they share"
            )


@contextmanager
def shared(path: Path) -> Iterator[SharedFolder]:
    """The folder, marked for so long."""
    folder = SharedFolder(path.absolute(), uuid.uuid4().hex)
    folder.path.mkdir(parents=True, exist_ok=True)
    mark = folder.path / MARK
    mark.write_text(folder.text, encoding="utf-8")
    try:
        yield folder
    finally:
        mark.unlink(missing_ok=True)
        with suppress(OSError):  # it is empty where nothing was begun
            folder.path.rmdir()
