"""Whether a worker is where it says it is: in its loop, waiting for the next request.

A program that has found its way to the result channel could claim to have finished and go on, or leave. So a reply
counts once the kernel says that the worker is receiving on that channel.
"""

from __future__ import annotations

import platform
from pathlib import Path

from agentgym.sandboxes.inside.examine import CHANNEL
from agentgym.sandboxes.inside.processes import exiting

RECVMSG = {"x86_64": 47, "aarch64": 212}.get(platform.machine())
TOLD = RECVMSG is not None and Path("/proc/self/syscall").exists()
"""Whether the kernel tells here."""


class WorkerProcess:
    """A worker by its pidfd, as /proc of this process shows it."""

    def __init__(self, pidfd: int) -> None:
        fields = Path(f"/proc/self/fdinfo/{pidfd}").read_text().split()
        self._pid = int(fields[fields.index("Pid:") + 1])

    def waits(self) -> bool:
        """True when it is receiving on its channel; also where we are not told."""
        try:
            words = Path(f"/proc/{self._pid}/syscall").read_text().split() if TOLD else []
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return False
        except PermissionError:  # not ours to ask, or at its end
            return not exiting(self._pid)
        return words[:2] == [str(RECVMSG), hex(CHANNEL)] or not TOLD
