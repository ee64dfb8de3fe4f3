"""Sandbox `local`: Python sessions on this machine, forked from one clean server, in namespaces of their own."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from agentgym.errors import SandboxError
from agentgym.ranges import above
from agentgym.sandbox import Protection

if TYPE_CHECKING:
    from agentgym.sandboxes.hosting.cgroups import Cgroup, Cgroups
    from agentgym.sandboxes.hosting.fork_server_link import ForkServerLink
    from agentgym.sandboxes.hosting.session import LocalSession
    from agentgym.sandboxes.hosting.worker_link import WorkerLink

OVERHEAD = 64  # processes of ours in a session's group, most of them while it branches
STARTING_AT_ONCE = 16
MAX_DESCRIPTORS = 1 << 16
POSITIVE = ("timeout", "memory_mb", "disk_mb", "processes", "cpus", "output_limit", "file_limit")


def scientific() -> tuple[str, ...]:
    """Those of the modules that programs use most which are installed where sessions see them."""
    specs = {name: find_spec(name) for name in ("numpy", "sympy", "pandas")}
    folders = {sys.prefix, sys.base_prefix, "/usr"}
    return tuple(
        name
        for name, spec in specs.items()
        if spec is not None and any((spec.origin or "").startswith(f"{folder}/") for folder in folders)
    )


def weakness_allowed() -> bool:
    """Whether the environment asks for a sandbox at any price."""
    return os.environ.get("AGENTGYM_ALLOW_WEAK") == "1"


@dataclass(frozen=True)
class Local:
    """Runs policy code in worker processes.

    timeout: seconds of wall time per run. memory_mb: of a process, beside what is preloaded, and with control
    groups of the whole session, its files included. disk_mb: the workspace, and the largest file. processes: per
    session. cpus: processors' worth of time per session (with control groups only). output_limit: bytes per
    stream and run. file_limit: bytes of a file read or written from outside. preload: modules imported once,
    before workers fork. walls: bubblewrap builds them; in a container of one's own that one may be enough.
    allow_weak: go on without walls where they cannot be built; code can then read your files and use the network.
    Default: whether the variable AGENTGYM_ALLOW_WEAK is 1.
    """

    timeout: float = 5.0
    memory_mb: int = 512
    disk_mb: int = 64
    processes: int = 32
    cpus: float = 1.0
    output_limit: int = 65536
    file_limit: int = 4 << 20
    preload: tuple[str, ...] = field(default_factory=scientific)
    walls: Literal["bubblewrap", "container"] = "bubblewrap"
    allow_weak: bool = field(default_factory=weakness_allowed)

    def __post_init__(self) -> None:
        above(self, 0, *POSITIVE)

    async def open(self) -> LocalHost:
        """Start the fork server; raises SandboxError where there can be no walls and none is not allowed."""
        host = LocalHost(self)
        try:
            await host.start()
        except BaseException:
            await host.close()
            raise
        return host

    async def protections(self) -> list[Protection]:
        """What stands between a program and this machine, found by trying."""
        from agentgym.sandboxes.hosting.protections import local_protections

        return await local_protections(self)


class LocalHost:
    """The sessions' host: keeps one fork server running. mode: the walls that it found to work, or none."""

    def __init__(self, config: Local) -> None:
        import asyncio

        self.config = config
        self.mode: Literal["bubblewrap", "container", "none"] = config.walls
        self.cgroups: Cgroups | None = None
        self._server: ForkServerLink | None = None
        self.sessions: set[LocalSession] = set()
        self._closed = False
        self._starting = asyncio.Lock()
        self._slots = asyncio.Semaphore(STARTING_AT_ONCE)  # bounds descriptors in flight

    async def start(self) -> None:
        """Build walls, start the fork server in them."""
        from agentgym.sandboxes.hosting.cgroups import Cgroups, Limits

        if not sys.platform.startswith("linux"):
            raise SandboxError("the local sandbox needs Linux; use another sandbox, such as docker")
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # a session takes four; the usual 1,024 is soon used
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MAX_DESCRIPTORS), hard))
        config = self.config
        self.cgroups = Cgroups(
            Limits((config.memory_mb + config.disk_mb) << 20, config.processes + OVERHEAD, config.cpus)
        )
        try:
            await self._live_server()
        except SandboxError as error:
            if not config.allow_weak:
                raise SandboxError(
                    f"{error}\nWithout walls, code can read your files and use the network. To run it all the "
                    "same: allow_weak=true (`sandbox.allow_weak=true`); or use another sandbox, such as docker"
                ) from error
            self.mode = "none"
            await self._live_server()

    @property
    def description(self) -> str:
        """What it is, for a person."""
        if self.mode == "none":
            return "local WITHOUT walls: code can read your files and use the network (allow_weak)"
        groups = "control groups" if self.cgroups and self.cgroups.parents else "no control groups"
        return f"local, in namespaces ({self.mode}), {groups}"

    @property
    def replays(self) -> bool:
        """Whether forks replay the log: without namespaces, or without a /proc in which their keepers see them."""
        from agentgym.sandboxes.hosting.launch import masked_proc

        return self.mode == "none" or masked_proc()

    async def session(self) -> LocalSession:
        """A fresh session; raises SandboxError."""
        from agentgym.sandboxes.hosting.session import LocalSession

        session = LocalSession(self)
        try:
            await session.start()
        except BaseException:
            await session.close()
            raise
        return session

    async def worker(self) -> WorkerLink:
        """A fresh worker, ready."""
        from agentgym.sandboxes.hosting.outputs import OutputLimits
        from agentgym.sandboxes.hosting.worker_link import WorkerLink

        async with self._slots:
            server = await self._live_server()
            limits = OutputLimits(self.config.output_limit, 1024 + self.config.file_limit * 3 // 2)
            try:
                return await WorkerLink.start(server, limits, self._group())
            except OSError as error:
                raise SandboxError(
                    f"no descriptors (see ulimit -n) or no control group for a session: {error.strerror}"
                ) from error

    async def branches(self, worker: WorkerLink, count: int) -> list[WorkerLink]:
        """`worker` as it goes on, and count - 1 live forks of it."""
        from agentgym.sandboxes.hosting.worker_link import Refused

        async with self._slots:
            try:
                groups = [self._group() for _ in range(count - 1)]
            except OSError as error:
                raise Refused(f"there can be no control group for a fork: {error.strerror}") from error
            return await worker.branch(groups)

    async def close(self) -> None:
        """End every session and the fork server; may be called twice."""
        import asyncio

        self._closed = True
        try:
            await asyncio.gather(*(session.close() for session in list(self.sessions)))
        finally:
            async with self._starting:
                server, self._server = self._server, None
            if server is not None:
                await server.close()
            if self.cgroups is not None:
                self.cgroups.close()

    def _group(self) -> Cgroup | None:
        return self.cgroups.make() if self.cgroups is not None and self.cgroups.parents else None

    async def _live_server(self) -> ForkServerLink:
        """The fork server, a new one if it died; raises SandboxError."""
        from agentgym.sandboxes.hosting.fork_server_link import ForkServerLink

        async with self._starting:
            if self._closed:
                raise SandboxError("the sandbox host is closed")
            if self._server is not None and self._server.dead:
                await self._server.close()
                self._server = None
            if self._server is None:
                self._server = await ForkServerLink.start(self.config, self.mode)
            return self._server
