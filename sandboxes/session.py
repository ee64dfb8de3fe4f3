"""A session of the local sandbox: one worker at a time, and the log from which it can be rebuilt."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from agentgym.errors import SandboxError
from agentgym.sandbox import ExecResult, Language, Status
from agentgym.sandboxes.calls import Reply, WorkerLink
from agentgym.sandboxes.launch import languages

if TYPE_CHECKING:
    from agentgym.sandboxes.local import LocalHost


class Entry(NamedTuple):
    """Something that changed the session's state."""

    request: dict[str, Any]
    timeout: float
    status: Status


class LocalSession:
    """Implements `agentgym.sandbox.Sandbox`. `fork` replays the log into a new worker, which is exact for
    programs that depend on nothing but the session (the `random` module is seeded alike)."""

    def __init__(self, host: LocalHost) -> None:
        self._host = host
        self._calls = 0
        self._worker: WorkerLink | None = None
        self._log: list[Entry] = []
        self._lost = False
        self._closed = False
        self._lock = asyncio.Lock()
        host.sessions.add(self)

    @property
    def calls(self) -> int:
        """Programs run, counted here and not in the worker."""
        return self._calls

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
        timeout = self._host.config.timeout if timeout is None else timeout
        if language not in languages():
            raise SandboxError(f"this sandbox has no {language}; it has {', '.join(languages())}")
        request = {"code": code} if language == "python" else {"code": code, "language": language}
        async with self._lock:
            restarted = await self._ensure()
            self._calls += 1
            started = time.monotonic()
            reply = await self._call(request, timeout, output_limit)
            seconds = time.monotonic() - started
        stdout, stderr = (data.decode(errors="replace") for data in (reply.stdout, reply.stderr))
        return ExecResult(stdout, stderr, reply.status, seconds, restarted)

    async def write(self, path: str, data: bytes) -> None:
        """Put a file into the working directory, folders included; raises OSError."""
        self._check_size(path, len(data))
        await self._file({"path": path, "data": base64.b64encode(data).decode()})

    async def read(self, path: str) -> bytes:
        """A regular file's content; raises OSError, also for one above `file_limit`."""
        message = await self._file({"path": path, "limit": self._host.config.file_limit})
        try:
            data = base64.b64decode(message["data"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise OSError(f"{path}: the session sent no file") from error
        self._check_size(path, len(data))
        return data

    async def fork(self) -> LocalSession:
        """A second session in the same state, by replay; raises SandboxError when the replay goes otherwise."""
        twin = LocalSession(self._host)
        async with self._lock:
            await self._ensure_open()
            log, twin._calls, twin._lost = list(self._log), self._calls, self._lost
        try:
            if not twin._lost:
                await twin.start()
            for entry in log:
                reply = await twin._call(entry.request, entry.timeout)
                if reply.status != entry.status:
                    raise SandboxError(f"replay diverged: {reply.status!r} where it was {entry.status!r}")
        except BaseException:
            await twin.close()
            raise
        return twin

    async def start(self) -> None:
        """Get a worker."""
        self._worker = await self._host.worker()

    async def close(self) -> None:
        """Kill everything the session started; may be called twice."""
        self._closed = True
        if self._worker is not None:
            self._worker.kill()  # a call in flight ends with it, and only then gives up the lock
        async with self._lock:
            if self._worker is not None:
                await self._worker.close()
                self._worker = None
        self._host.sessions.discard(self)

    def _check_size(self, path: str, size: int) -> None:
        limit = self._host.config.file_limit
        if size > limit:
            raise OSError(f"{path}: {size} bytes; a file may have {limit} here")

    async def _file(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._lock:
            await self._ensure()
            reply = await self._call(request, self._host.config.timeout)
        if reply.status == "error":
            code = reply.message.get("errno")
            raise OSError(code, os.strerror(code) if isinstance(code, int) else "failed", request["path"])
        if reply.status != "ok":
            raise OSError(f"{request['path']}: the session ended instead ({reply.status})")
        return reply.message

    async def _call(self, request: dict[str, Any], timeout: float, output_limit: int | None = None) -> Reply:
        assert self._worker is not None
        reply = await self._worker.call(request, timeout, output_limit or self._host.config.output_limit)
        if reply.status not in ("ok", "error"):
            self._forget()
        elif "limit" not in request:  # reading changes nothing
            self._log.append(Entry(request, timeout, reply.status))
        return reply

    def _forget(self) -> None:
        self._worker, self._log, self._lost = None, [], True

    async def _ensure_open(self) -> None:
        """Notice a worker that ended between calls; raises SandboxError after `close` and without a server."""
        if self._closed:
            raise SandboxError("the session is closed")
        if self._worker is not None and self._worker.ended:
            await self._worker.close()
            if self._worker.exit.result() == "lost":
                raise SandboxError("the session was lost with the sandbox's fork server")
            self._forget()

    async def _ensure(self) -> bool:
        """Have a worker; True when it had to be a new one, with empty state."""
        await self._ensure_open()
        restarted = self._lost
        if restarted:
            await self.start()
            self._lost = False
        return restarted
