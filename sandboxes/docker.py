"""Sandbox `docker`: a container for each episode, where a session and its forks have namespaces of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.ranges import above, at_least

if TYPE_CHECKING:
    from agentgym.sandbox import Protection
    from agentgym.sandboxes.containers.session import DockerHost


@dataclass(frozen=True)
class Docker:
    """Runs policy code in containers: by default one for each session that is opened, shared with its forks only.

    image: built as `sandboxes/Dockerfile` says. pool: containers that wait, started, for the next session.
    sessions: how many may share a container, kept apart by namespaces as those of `local` are, but not from using
    up its memory; for training with many short episodes, since a container takes some 0.3 s to start.
    memory_mb, processes, cpus: of a container for each of its `sessions`, forks included. disk_mb: a session's
    workspace, which counts as memory. timeout: seconds of wall time per run. output_limit: bytes per stream and
    run. file_limit: bytes of a file read or written from outside. preload: modules imported once, before sessions
    fork. runtime: one that the daemon has; auto takes gVisor's `runsc` where it is there and can run sessions.

    The daemon is the one that DOCKER_HOST names (unix:// or tcp:// without TLS), or the local one.
    """

    image: str = "agentgym-sandbox"
    pool: int = 2
    sessions: int = 1
    memory_mb: int = 512
    processes: int = 128
    cpus: float = 1.0
    disk_mb: int = 64
    timeout: float = 5.0
    output_limit: int = 65536
    file_limit: int = 4 << 20
    runtime: str = "auto"
    preload: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        above(self, 0, "sessions", "memory_mb", "processes", "cpus", "disk_mb")
        above(self, 0, "timeout", "output_limit", "file_limit")
        at_least(self, 0, "pool")

    async def open(self) -> DockerHost:
        """Connect to the daemon and start a first container; raises SandboxError, saying what is missing."""
        from agentgym.sandboxes.containers.daemon import Daemon
        from agentgym.sandboxes.containers.session import DockerHost

        daemon = await Daemon.connect(self)
        host = DockerHost(self, daemon)
        try:
            await host.start()
        except BaseException:
            await host.close()
            raise
        return host

    async def protections(self) -> list[Protection]:
        """What holds in a container, found by trying in one and by asking the daemon about it."""
        from agentgym.sandboxes.containers.protections import protections

        host = await self.open()
        try:
            return await protections(host)
        finally:
            await host.close()
