"""A session while it is made: first its keeper furnishes its world, then its worker enters."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from .examine import CHANNEL, stray
from .keepers import CONTROL, Keepers, arrange, join_cgroups
from .kernel import PR_SET_DUMPABLE, prctl
from .limits import tighten
from .processes import namespace
from .world import ENTRANCES, Workspace, furnish, furnish_proc

Keep = Callable[[dict[str, Any]], NoReturn]


class Birth:
    """keeper: its pid. worker: its pid, 0 before it is known. entrances: descriptors of its namespaces."""

    def __init__(self, config: dict[str, Any], control: int, cgroups: list[int], workspace: Workspace) -> None:
        self.config = config
        self.control = control
        self.cgroups = cgroups
        self.workspace = workspace
        self.keeper = self.worker = 0
        self.namespace = self.device = 0  # pid namespace, device of its files
        self.entrances: list[int] = []
        self._above, self._below = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def begin(self, keepers: Keepers, keep: Keep, folder: str = "") -> str:
        """Start its keeper, which goes on with `keep` once the world is there; why that is impossible, or empty.

        folder: the workspace where namespaces give none.
        """
        try:
            self.keeper = keepers.start(self.control, lambda: self._build(keep, folder))
        except OSError as error:
            return (
                f"no keeper can be started: {error.strerror} (the limit of processes or of namespaces; a line of "
                "forks ends after some 29)"
            )
        finally:
            self._below.close()
        return ""

    def ready(self) -> str:
        """Wait for its keeper; what went wrong, or empty."""
        data, self.entrances, _, _ = socket.recv_fds(self._above, 1000, len(ENTRANCES))
        self._above.close()
        said = data.decode(errors="replace")
        if not said.startswith("["):
            return said or "no keeper for it"
        self.namespace, self.device = json.loads(said)
        return ""

    def abandon(self, keepers: Keepers) -> None:
        """End its keeper."""
        if self.keeper:
            os.kill(self.keeper, signal.SIGKILL)
            keepers.reap(self.keeper, os.waitpid(self.keeper, 0)[1])

    def close(self) -> None:
        """Free the descriptors; may be called twice."""
        for descriptor in self.entrances:
            os.close(descriptor)
        self.entrances = []

    def examine(self, workers: list[int], standing: list[int]) -> str:
        """What is wrong with its processes, or empty; then it has a fresh session's limits. See `stray`."""
        if len(workers) != 1:
            return f"it became {len(workers)} processes"
        [self.worker] = workers
        try:
            if reason := stray(self.worker, self.device, standing):
                return f"it kept {reason}"
            tighten(self.worker, self.config)
        except (FileNotFoundError, ProcessLookupError):
            return "it ended"
        except PermissionError:
            return "it hides from inspection"
        return ""

    def group(self) -> None:
        """Move its worker from its parent's control groups into its own. That may wait for the kernel's other
        business, and so comes last."""
        with suppress(ProcessLookupError):
            join_cgroups(self.cgroups, self.worker)
        for descriptor in self.cgroups:
            os.close(descriptor)

    def _build(self, keep: Keep, folder: str) -> NoReturn:
        """In the keeper: build the world and say so."""
        arrange({CONTROL: self.control, CHANNEL: self._below.fileno()})
        with socket.socket(fileno=CHANNEL) as above:
            try:
                identity, entrances = build_world(self.config, self.workspace, folder)
            except Exception as error:
                above.send(f"{type(error).__name__}: {error}".encode()[:1000])
                os._exit(1)
            socket.send_fds(above, [json.dumps(identity).encode()], entrances)
        for descriptor in entrances:
            os.close(descriptor)
        keep(self.config)


def build_world(config: dict[str, Any], workspace: Workspace, folder: str) -> tuple[list[int], list[int]]:
    """Pid namespace and device of the files, and the entrances."""
    if not config["namespaces"]:
        os.mkdir(folder, 0o700)
        return [0, 0], []
    prctl(PR_SET_DUMPABLE, 1)  # for /proc/self to be ours
    furnish(config, workspace)
    identity = [namespace("self"), os.stat(config["directory"]).st_dev]
    entrances = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ENTRANCES]
    furnish_proc(config)
    prctl(PR_SET_DUMPABLE, 0)  # out of the reach of programs
    return identity, entrances
