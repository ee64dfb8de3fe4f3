"""Processes of a library that end with this one, however it ends; killed, it would leave them behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

WATCH = """
import os, signal, sys
watched = [os.pidfd_open(int(pid)) for pid in sys.argv[1:]]
print(flush=True)
sys.stdin.read()  # until who holds the other end is gone
for process in watched:
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class Bound:
    """A process that waits for the end of this one, and kills those that are not over by then."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._watch = subprocess.Popen(
            [sys.executable, "-S", "-c", WATCH, *map(str, pids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us
        )
        assert self._watch.stdout is not None
        self._watch.stdout.readline()

    def close(self) -> None:
        """Kill them now, as far as they are there."""
        self._watch.communicate()
