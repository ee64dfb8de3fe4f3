"""Whether a worker is where it says it is: in its loop, waiting for the next request.

A program that has found its way to the result channel could claim to have finished and go on, or leave. So a reply
counts once the kernel says that the worker is receiving on that channel.
"""

from __future__ import annotations

import platform
from pathlib import Path

from agentgym.sandboxes.inside.examine import CHANNEL

RECVMSG = {"x86_64": 47, "aarch64": 212}.get(platform.machine())


class WorkerProcess:
    """A worker by its pidfd, as /proc of this process shows it."""

    def __init__(self, pidfd: int) -> None:
        fields = Path(f"/proc/self/fdinfo/{pidfd}").read_text().split()
        self._file = Path("/proc", fields[fields.index("Pid:") + 1], "syscall")

    def waits(self) -> bool:
        """True when it is receiving on its channel; also where the kernel does not tell."""
        try:
            words = self._file.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return self._file.parent.exists()
        except PermissionError:
            return True
        return words[:2] == [str(RECVMSG), hex(CHANNEL)] or RECVMSG is None
