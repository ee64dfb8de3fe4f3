"""What ends with this process, however it ends: processes of a library, and a folder that lies in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

WATCH = """
import os, shutil, signal, sys
watched = [os.pidfd_open(int(pid)) for pid in sys.argv[2:]]
print(flush=True)
sys.stdin.read()  # until who holds the other end is gone
for process in watched:
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class Bound:
    """A process that waits for the end of this one, then kills those that are not over and removes the folder."""

    def __init__(self, pids: Sequence[int], folder: Path) -> None:
        self._watch = subprocess.Popen(
            [sys.executable, "-S", "-c", WATCH, str(folder), *map(str, pids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us
        )
        assert self._watch.stdout is not None
        self._watch.stdout.readline()

    def close(self) -> None:
        """Do so now."""
        self._watch.communicate()
