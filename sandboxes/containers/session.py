"""The host of sessions in containers, and the session, which knows the container that it lives in."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args

from agentgym.errors import SandboxError
from agentgym.sandbox import ExecResult, Language, Status, check_size, run_seconds
from agentgym.sandboxes.containers.container import Container, Overdue, remove_abandoned
from agentgym.sandboxes.containers.gateway_client import Gone
from agentgym.sandboxes.containers.pool import ContainerPool

if TYPE_CHECKING:
    from agentgym.sandboxes.containers.daemon import Daemon
    from agentgym.sandboxes.docker import Docker

GRACE_SECONDS = 15.0
"""For what comes on top of a program's deadline, which is kept inside; then the container is killed."""
FORK_SECONDS = 60.0


class DockerHost:
    """Implements `agentgym.sandbox.SandboxHost`."""

    def __init__(self, config: Docker, daemon: Daemon) -> None:
        self.config = config
        self.daemon = daemon
        self.pool = ContainerPool(config, daemon)
        self.sessions: set[DockerSession] = set()

    @property
    def description(self) -> str:
        """What it is, for a person."""
        each = "episode" if self.config.sessions == 1 else f"{self.config.sessions} sessions"
        return f"docker, a container for each {each}, runtime {self.daemon.runtime}"

    async def start(self) -> None:
        """Clear away what crashed hosts left, and have a first container; raises SandboxError."""
        await remove_abandoned(self.daemon)
        try:
            await self.pool.fill()
        except SandboxError as error:
            if not self.daemon.give_up_gvisor(self.config, str(error)):
                raise
            await self.pool.fill()

    async def session(self) -> DockerSession:
        """A fresh session; raises SandboxError."""
        session = DockerSession(self)
        try:
            await session.begin()
        except BaseException:
            await session.close()
            raise
        return session

    async def close(self) -> None:
        """End every session and remove every container; may be called twice."""
        ends = [session.close() for session in list(self.sessions)]
        errors = await asyncio.gather(*ends, self.pool.close(), return_exceptions=True)
        await self.daemon.close()
        for error in errors:
            if error is not None:
                raise error


class DockerSession:
    """Implements `agentgym.sandbox.Sandbox`. The container goes when the last session in it is closed."""

    def __init__(self, host: DockerHost) -> None:
        self._host = host
        self._calls = 0
        self.container: Container | None = None  # none before `begin`, after `close`, and when it was lost
        self._number = 0
        self._lost = self._closed = False
        self._lock = asyncio.Lock()
        host.sessions.add(self)

    @property
    def calls(self) -> int:
        """Programs run, counted here."""
        return self._calls

    async def begin(self) -> None:
        """Take a container, and start a fresh session in it; raises SandboxError."""
        for left in reversed(range(self._host.config.pool + 1)):  # all that waited may have died meanwhile
            try:
                await self._enter(await self._host.pool.take())
                return
            except SandboxError:
                if self._closed or not left:
                    raise

    async def _enter(self, container: Container) -> None:
        if self._closed:
            await container.close()
            raise SandboxError("the session is closed")
        self._join(container)
        try:
            await container.ask("open", GRACE_SECONDS, session=self._number)
        except (Gone, SandboxError) as error:
            await self._leave()
            raise SandboxError(f"a session did not start: {error}") from error

    async def run(
        self,
        code: str,
        timeout: float | None = None,
        *,
        language: Language = "python",
        output_limit: int | None = None,
    ) -> ExecResult:
        """Run `code`; `timeout` in seconds of wall time. Raises SandboxError when the machinery failed, and for a
        language that is not there."""
        config = self._host.config
        timeout = run_seconds(timeout, config.timeout)
        limit = config.output_limit if output_limit is None else output_limit
        program = {"code": code, "timeout": timeout, "language": language, "output_limit": limit}
        async with self._lock:
            container, restarted = await self._ensure()
            self._calls += 1
            started = time.monotonic()
            try:  # there are two streams, and six bytes may stand for a character
                reply = await container.ask(
                    "run", timeout + GRACE_SECONDS, 12 * limit, session=self._number, **program
                )
            except Gone as error:
                status = await self._lose(container, error)
                return ExecResult("", "", status, time.monotonic() - started, restarted)
            seconds = time.monotonic() - started
            result = parse_result(reply, limit, seconds, restarted)
            if result is None:
                await container.close()
                raise SandboxError("a container's gateway sent a result that is none")
            return result

    async def write(self, path: str, data: bytes) -> None:
        """Put a file into the working directory, folders included; raises OSError."""
        check_size(path, len(data), self._host.config.file_limit)
        await self._file("write", path, data=base64.b64encode(data).decode())

    async def read(self, path: str) -> bytes:
        """A regular file's content; raises OSError, also for one above `file_limit`."""
        reply = await self._file("read", path)
        try:
            data = base64.b64decode(reply["data"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise OSError(f"{path}: the session sent no file") from error
        check_size(path, len(data), self._host.config.file_limit)
        return data

    async def fork(self) -> DockerSession:
        """A second session in the same state and container; raises SandboxError, saying why not."""
        async with self._lock:
            container = self._live()
        twin = DockerSession(self._host)
        twin._calls, twin._lost = self._calls, self._lost
        if container is not None:  # without the lock: forks that are asked for at once are made at once
            twin._join(container)
            try:
                await container.ask("fork", FORK_SECONDS, session=self._number, twin=twin._number)
            except BaseException as error:
                await twin.close()
                if isinstance(error, Gone):
                    raise SandboxError(f"no fork: the container ended: {error}") from error
                raise
        return twin

    async def close(self) -> None:
        """Kill everything the session started; may be called twice."""
        self._closed = True
        await self._leave()  # a call in flight ends with it, and only then gives up the lock
        async with self._lock:
            self._host.sessions.discard(self)

    async def _file(self, do: str, path: str, **fields: Any) -> dict[str, Any]:
        config = self._host.config
        async with self._lock:
            container, _ = await self._ensure()
            try:
                seconds, size = config.timeout + GRACE_SECONDS, config.file_limit * 3 // 2
                return await container.ask(do, seconds, size, session=self._number, path=path, **fields)
            except Gone as error:
                status = await self._lose(container, error)
                raise OSError(f"{path}: the session ended instead ({status})") from error

    def _join(self, container: Container) -> None:
        self.container, self._number = container, container.admit()

    async def _leave(self) -> None:
        """Give up the place in the container, which goes with the last of its sessions."""
        container, self.container = self.container, None
        if container is None:
            return
        container.sessions -= 1
        if not container.sessions:
            await container.close()
        else:
            with suppress(Gone):  # and this session with it
                await container.ask("close", GRACE_SECONDS, session=self._number)

    async def _lose(self, container: Container, error: Gone) -> Status:
        """The status of a run that its container did not survive; raises SandboxError if it is not to blame."""
        if self._closed:
            return "killed"
        overdue = isinstance(error, Overdue)
        if not overdue and not await container.out_of_memory():
            raise SandboxError(f"the session was lost with its container, which died: {error}") from error
        await self._leave()
        self._lost = True
        return "timeout" if overdue else "oom"

    def _live(self) -> Container | None:
        """The container, none when it was lost; raises SandboxError after `close`, and when it died meanwhile."""
        if self._closed:
            raise SandboxError("the session is closed")
        if self.container is not None and self.container.dead:
            raise SandboxError(f"the session was lost with its container, which died: {self.container.dead}")
        return self.container

    async def _ensure(self) -> tuple[Container, bool]:
        """A container, and whether it had to be a new one, with empty state."""
        container, restarted = self._live(), self._lost
        if restarted:
            await self.begin()
            container, self._lost = self.container, False
        assert container is not None
        return container, restarted


def parse_result(reply: dict[str, Any], limit: int, seconds: float, restarted: bool) -> ExecResult | None:
    """The result that a gateway sent; None for anything else."""
    texts = [reply.get("stdout"), reply.get("stderr")]
    if reply.get("status") not in get_args(Status) or not isinstance(reply.get("restarted"), bool):
        return None
    if not all(isinstance(text, str) and len(text) <= limit for text in texts):
        return None
    stdout, stderr = (str(text).encode(errors="replace").decode() for text in texts)  # without lone surrogates
    return ExecResult(stdout, stderr, reply["status"], seconds, restarted or reply["restarted"])
