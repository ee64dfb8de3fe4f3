"""Sandbox `local`: Python sessions on this machine, forked from one clean server, in namespaces where possible."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agentgym.errors import SandboxError

if TYPE_CHECKING:
    from agentgym.sandboxes.calls import WorkerLink
    from agentgym.sandboxes.launch import Mode
    from agentgym.sandboxes.link import ForkServerLink
    from agentgym.sandboxes.session import LocalSession

STARTING_AT_ONCE = 16
MAX_DESCRIPTORS = 1 << 16


@dataclass(frozen=True)
class Local:
    """Runs policy code in worker processes.

    timeout: seconds of wall time per run. memory_mb: per process. disk_mb: the workspace, and the largest file.
    processes: per session (with bubblewrap only). output_limit: bytes per stream and run. file_limit: bytes of
    a file read or written from outside. preload: modules imported once, before workers fork.
    isolation: auto uses bubblewrap where it works; container: for inside of a container with a folder /workspace,
    which is the wall around sessions that get only namespaces of their own.
    """

    timeout: float = 5.0
    memory_mb: int = 512
    disk_mb: int = 64
    processes: int = 32
    output_limit: int = 65536
    file_limit: int = 4 << 20
    isolation: Literal["auto", "bubblewrap", "container", "none"] = "auto"
    preload: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("timeout", "memory_mb", "disk_mb", "processes", "output_limit", "file_limit"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    async def open(self) -> LocalHost:
        """Start the fork server; raises SandboxError where the isolation asked for does not work."""
        host = LocalHost(self)
        await host.start()
        return host

    def describe(self) -> str:
        """What isolation this machine gives, found by trying."""
        reason = "" if self.isolation == "none" else self._try_bubblewrap()
        if self.isolation != "none" and not reason:
            return f"{_version()}: own namespaces and file system, no network; limits per process, no cgroups"
        if self.isolation == "bubblewrap":
            return f"unusable: {reason}"
        why = f" ({reason})" if reason else ""
        return f"no isolation{why}: rlimits only, code can reach the network and read your files"

    def _try_bubblewrap(self) -> str:
        """Why bubblewrap does not work here; empty if it does."""
        import socket
        import subprocess

        from agentgym.sandboxes.launch import command, environment

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.close()  # a fork server without a host leaves after its self-test
        try:
            words = command(self, "bubblewrap", "")
            done = subprocess.run(words, stdin=theirs.fileno(), env=environment(), capture_output=True, timeout=60)
        except SandboxError as error:
            return str(error)
        finally:
            theirs.close()
        return done.stderr.decode(errors="replace").strip() if done.returncode else ""


def _version() -> str:
    import subprocess

    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.strip()


class LocalHost:
    """The sessions' host: keeps one fork server running. `isolation` tells which form it found to work."""

    def __init__(self, config: Local) -> None:
        import asyncio

        self.config = config
        self.isolation: Mode = "bubblewrap" if config.isolation == "auto" else config.isolation
        self._server: ForkServerLink | None = None
        self.sessions: set[LocalSession] = set()
        self._closed = False
        self._starting = asyncio.Lock()
        self._slots = asyncio.Semaphore(STARTING_AT_ONCE)  # bounds descriptors in flight

    async def start(self) -> None:
        """Find a form of isolation that works, and start its fork server."""
        import shutil

        if not sys.platform.startswith("linux"):
            raise SandboxError("the local sandbox needs Linux; use another sandbox, such as docker")
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # a session takes three; the usual 1,024 is soon used
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MAX_DESCRIPTORS), hard))
        if self.config.isolation == "auto" and shutil.which("bwrap") is None:
            self.isolation = "none"
        try:
            await self._live_server()
        except SandboxError:
            if self.config.isolation != "auto" or self.isolation == "none":
                raise
            self.isolation = "none"
            await self._live_server()

    async def session(self) -> LocalSession:
        """A fresh session; raises SandboxError."""
        from agentgym.sandboxes.session import LocalSession

        session = LocalSession(self)
        await session.start()
        return session

    async def worker(self) -> WorkerLink:
        """A fresh worker, ready."""
        from agentgym.sandboxes.calls import WorkerLink

        async with self._slots:
            server = await self._live_server()
            try:
                worker = WorkerLink(server, 1024 + self.config.file_limit * 3 // 2)
            except OSError as error:
                raise SandboxError(f"no descriptors for a session: {error.strerror} (see ulimit -n)") from error
            await worker.ready()
        return worker

    async def close(self) -> None:
        """End every session and the fork server; may be called twice."""
        import asyncio

        self._closed = True
        await asyncio.gather(*(session.close() for session in list(self.sessions)))
        if self._server is not None:
            server, self._server = self._server, None
            await server.close()

    async def _live_server(self) -> ForkServerLink:
        """The fork server, a new one if it died; raises SandboxError."""
        from agentgym.sandboxes.link import ForkServerLink

        async with self._starting:
            if self._closed:
                raise SandboxError("the sandbox host is closed")
            if self._server is not None and self._server.dead:
                await self._server.close()
                self._server = None
            if self._server is None:
                self._server = await ForkServerLink.start(self.config, self.isolation)
            return self._server
