"""A session of the local sandbox: one worker at a time."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from agentgym.errors import SandboxError
from agentgym.sandbox import ExecResult, Language, Status, check_size, run_seconds
from agentgym.sandboxes.hosting.worker_link import Refused, Reply, WorkerLink

if TYPE_CHECKING:
    from agentgym.sandboxes.local import LocalHost

MAX_BRANCHES = 36
"""Made at once, since one message of the kernel's takes no more descriptors."""


class Entry(NamedTuple):
    """Something that changed the session's state."""

    request: dict[str, Any]
    timeout: float
    status: Status


class LocalSession:
    """Implements `agentgym.sandbox.Sandbox`.

    In namespaces a fork is a fork of the live processes. Each costs a level of namespaces, of which there are some
    29, for both halves; so forks of one state are made together where they are asked for at once, and the more of
    them were asked for one by one, the more are kept in reserve. Where that is impossible a fork replays the log,
    which is exact for programs that depend on nothing but the session (the `random` module is seeded alike).
    """

    def __init__(self, host: LocalHost) -> None:
        self._host = host
        self._calls = 0
        self._worker: WorkerLink | None = None
        self._log: list[Entry] = []
        self._reserve: list[WorkerLink] = []
        self._forks_of_state = 0
        self._asked: list[asyncio.Future[LocalSession]] = []
        self._lost = False
        self._broken = ""  # why nothing can be done with it any more
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
        """Run `code`; `timeout` in seconds of wall time. Raises SandboxError when the machinery failed."""
        if language not in get_args(Language):
            raise SandboxError(f"unknown language {language!r}; there are {', '.join(get_args(Language))}")
        timeout = run_seconds(timeout, self._host.config.timeout)
        async with self._lock:
            restarted = await self._ensure()
            self._calls += 1
            started = time.monotonic()
            reply = await self._call({"code": code, "language": language}, timeout, output_limit)
            seconds = time.monotonic() - started
        if reply.message.get("absent"):
            raise SandboxError(f"this sandbox has no {language}")
        stdout, stderr = (data.decode(errors="replace") for data in (reply.stdout, reply.stderr))
        return ExecResult(stdout, stderr, reply.status, seconds, restarted)

    async def write(self, path: str, data: bytes) -> None:
        """Put a file into the working directory, folders included; raises OSError."""
        check_size(path, len(data), self._host.config.file_limit)
        await self._file({"path": path, "data": base64.b64encode(data).decode()})

    async def read(self, path: str) -> bytes:
        """A regular file's content; raises OSError, also for one above `file_limit`."""
        message = await self._file({"path": path, "limit": self._host.config.file_limit})
        try:
            data = base64.b64decode(message["data"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise OSError(f"{path}: the session sent no file") from error
        check_size(path, len(data), self._host.config.file_limit)
        return data

    async def fork(self) -> LocalSession:
        """A second session in the same state; raises SandboxError when it would not be exact."""
        asked: asyncio.Future[LocalSession] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        try:
            async with self._lock:
                if not asked.done():
                    together, self._asked = self._asked[: MAX_BRANCHES - 1], self._asked[MAX_BRANCHES - 1 :]
                    try:
                        await self._fork([each for each in together if not each.done()])
                    except BaseException:  # the others ask again
                        self._asked = [each for each in together if each is not asked] + self._asked
                        raise
                return await asked
        except BaseException:
            if asked in self._asked:
                self._asked.remove(asked)
            if not asked.cancel() and not asked.cancelled() and asked.exception() is None:
                await asked.result().close()  # the twin was made, and nobody will have it
            raise

    async def start(self) -> None:
        """Get a worker."""
        self._worker = await self._host.worker()

    async def close(self) -> None:
        """Kill everything the session started; may be called twice."""
        self._closed = True
        if self._worker is not None:
            self._worker.kill()  # a call in flight ends with it, and only then gives up the lock
        async with self._lock:
            await self._drop_reserve()
            if self._worker is not None:
                await self._worker.close()
                self._worker = None
        self._host.sessions.discard(self)

    async def _fork(self, asked: list[asyncio.Future[LocalSession]]) -> None:
        """Answer requests for forks of the present state."""
        await self._ensure_open()
        try:
            if self._lost:
                workers: list[WorkerLink | None] = [None] * len(asked)
            elif self._host.replays:
                workers = [await self._replay() for _ in asked]
            else:
                workers = [*await self._branch(len(asked))]
        except SandboxError as error:
            for each in asked:
                if not each.done():
                    each.set_exception(SandboxError(str(error)))
            return
        for each, worker in zip(asked, workers, strict=True):
            if each.done():  # cancelled meanwhile
                if worker is not None:
                    await worker.close()
            else:
                each.set_result(self._twin(worker))

    def _twin(self, worker: WorkerLink | None) -> LocalSession:
        twin = LocalSession(self._host)
        twin._worker, twin._log = worker, list(self._log)
        twin._calls, twin._lost = self._calls, self._lost
        return twin

    async def _branch(self, count: int) -> list[WorkerLink]:
        """Live forks of the worker."""
        assert self._worker is not None
        missing = count - len(self._reserve)
        if missing > 0:
            more = min(self._forks_of_state, MAX_BRANCHES - 1 - missing)
            try:
                self._worker, *made = await self._host.branches(self._worker, 1 + missing + more)
            except Refused:
                raise
            except BaseException as error:
                if self._worker.ended:  # whose state an empty session must not be taken for
                    self._forget()
                    self._broken = f"the session was lost while it was forked: {error}"
                raise
            self._reserve += made
        self._forks_of_state += count
        taken, self._reserve = self._reserve[:count], self._reserve[count:]
        return taken

    async def _replay(self) -> WorkerLink:
        """A new worker brought to the same state by the log; raises SandboxError when it goes otherwise."""
        worker = await self._host.worker()
        try:
            for entry in self._log:
                reply = await worker.call(entry.request, entry.timeout)
                if reply.status != entry.status:
                    raise SandboxError(f"replay diverged: {reply.status!r} where it was {entry.status!r}")
        except BaseException:
            await worker.close()
            raise
        return worker

    async def _drop_reserve(self) -> None:
        """Forks held back are of a state that is over."""
        reserve, self._reserve, self._forks_of_state = self._reserve, [], 0
        await asyncio.gather(*(worker.close() for worker in reserve))

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
        reading = "limit" in request  # which changes nothing
        if not reading:
            await self._drop_reserve()
        reply = await self._worker.call(request, timeout, output_limit)
        if reply.status not in ("ok", "error"):
            self._forget()
        elif not reading and self._host.replays:
            self._log.append(Entry(request, timeout, reply.status))
        return reply

    def _forget(self) -> None:
        self._worker, self._log, self._lost = None, [], True

    async def _ensure_open(self) -> None:
        """Notice a worker that ended between calls; raises SandboxError after `close` and without a server."""
        if self._closed:
            raise SandboxError("the session is closed")
        if self._broken:
            raise SandboxError(self._broken)
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
