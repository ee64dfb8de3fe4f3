"""The sessions of a server's clients, each alive while its lease is renewed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentgym.errors import SandboxError
from agentgym.sandbox import Sandbox, SandboxHost
from agentgym.sandboxes.serving.gate import Gate
from agentgym.sandboxes.serving.metrics import SandboxMetrics
from agentgym.sandboxes.serving.replies import Replies
from agentgym.sandboxes.serving.settings import Serve
from agentgym.serving.problem import Problem

T = TypeVar("T")

CLOSING_SECONDS = 30.0

log = logging.getLogger(__name__)


class Session:
    """A sandbox's session and its lease. It is in the table from the moment it is asked for."""

    def __init__(self, opening: Awaitable[Sandbox], lease: float, expire: Callable[[], None]) -> None:
        self.replies = Replies()
        self.opening = asyncio.ensure_future(opening)
        self.closing: asyncio.Task[None] | None = None
        self._lease, self._expire = lease, expire
        self._timer = asyncio.get_running_loop().call_later(lease, expire)
        self.opening.add_done_callback(self._opened)

    def _opened(self, _: asyncio.Future[Sandbox]) -> None:
        if self.sandbox is None:
            self._timer.cancel()

    def renew(self) -> None:
        """Its client is still there."""
        if self.closing is None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(self._lease, self._expire)

    @property
    def sandbox(self) -> Sandbox | None:
        """None before it is open, and from when it begins to close."""
        ready = self.opening.done() and not self.opening.cancelled() and self.opening.exception() is None
        return self.opening.result() if ready and self.closing is None else None

    async def close(self) -> None:
        """End its calls, then the session; may be called twice, also at once."""
        if self.closing is None:
            self._timer.cancel()
            self.closing = asyncio.create_task(self._close())
        await asyncio.shield(self.closing)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self.replies.cancel_all()
                self.opening.cancel()
                [sandbox] = await asyncio.gather(self.opening, return_exceptions=True)
                if not isinstance(sandbox, BaseException):
                    await sandbox.close()
        except TimeoutError as error:
            raise SandboxError(f"the sandbox did not end a session within {CLOSING_SECONDS:g} s") from error


class Sessions:
    """All sessions of a server by id, over one host."""

    def __init__(self, host: SandboxHost, settings: Serve, metrics: SandboxMetrics) -> None:
        self.gate = Gate(settings.max_calls, settings.max_waiting, settings.max_wait)
        self._host, self._settings, self._metrics = host, settings, metrics
        self._table: dict[str, Session] = {}
        self._expiring: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._table)

    async def open(self, id: str, lease: float, make: Callable[[], Awaitable[Sandbox]] | None = None) -> Sandbox:
        """A new session, from the host or by `make`; the one of this id if there is one.

        Raises Problem: busy when there are too many, unavailable when the sandbox has none to give.
        """
        session = self._table.get(id)
        if session is None:
            if self._closed:
                raise Problem("unavailable", "the server is shutting down")
            if len(self) >= self._settings.max_sessions:
                raise Problem("busy", f"{len(self)} sessions are open, the most this server allows")
            opening = self.within(make or self._from_host, self._settings.max_timeout)
            session = self._table[id] = Session(opening, lease, lambda: self._expire(id))
        try:
            return await asyncio.shield(session.opening)
        except asyncio.CancelledError:
            if not session.opening.cancelled():
                raise
            raise Problem("lost", f"session {id} was closed while it was being opened") from None
        except Exception:
            self._remove(id, session)
            raise

    def get(self, id: str) -> tuple[Session, Sandbox]:
        """An open session, its lease renewed; raises Problem (lost)."""
        session = self._table.get(id)
        sandbox = session.sandbox if session is not None else None
        if session is None or sandbox is None:
            text = "its lease ran out, or it was closed, or the server was restarted; its state is lost"
            raise Problem("lost", f"session {id} is not on this server: {text}")
        session.renew()
        return session, sandbox

    def renew(self, ids: list[str]) -> None:
        """Renew the leases of those that are still there."""
        for id in ids:
            if id in self._table:
                self._table[id].renew()

    async def within(self, work: Callable[[], Awaitable[T]], seconds: float) -> T:
        """`work` in a slot and under a deadline; raises Problem (busy), SandboxError."""
        async with self.gate.slot():
            deadline = asyncio.timeout(seconds)
            try:
                async with deadline:
                    return await work()
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                raise SandboxError(f"no answer from the sandbox within {seconds:g} s") from error

    async def close(self, id: str) -> None:
        """Close a session; one that is not there is closed already."""
        session = self._table.get(id)
        if session is not None:
            try:
                await session.close()
            finally:
                self._remove(id, session)

    async def shut_down(self) -> None:
        """Close every session and open no other."""
        self._closed = True
        await asyncio.gather(*(self._close_and_log(id) for id in list(self._table)), *self._expiring)

    async def _from_host(self) -> Sandbox:
        try:
            return await self._host.session()
        except SandboxError as error:
            raise Problem("unavailable", str(error)) from error

    def _remove(self, id: str, session: Session) -> None:
        if self._table.get(id) is session:
            del self._table[id]

    def _expire(self, id: str) -> None:
        self._metrics.expired.inc()
        task = asyncio.create_task(self._close_and_log(id))
        self._expiring.add(task)
        task.add_done_callback(self._expiring.discard)

    async def _close_and_log(self, id: str) -> None:
        try:
            await self.close(id)
        except Exception:
            log.exception("session %s could not be closed", id)  # nobody waits for it who could be told
