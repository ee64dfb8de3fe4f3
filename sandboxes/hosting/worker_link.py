"""The host's end of one worker: calls, each with a deadline, and forks.

A frame that is not the expected reply ends the session.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from agentgym.errors import SandboxError
from agentgym.sandbox import Status
from agentgym.sandboxes.hosting.cgroups import Cgroup
from agentgym.sandboxes.hosting.control import Control, How
from agentgym.sandboxes.hosting.ends import Ends
from agentgym.sandboxes.hosting.fork_server_link import ForkServerLink
from agentgym.sandboxes.hosting.outputs import OutputLimits, Outputs

GREETING = "ready"
LOOK_SECONDS = 0.0002
KILL_SECONDS = 30.0
BRANCH_SECONDS = 30.0
REAP_SECONDS = 1.0
ENTRANCES = 3  # descriptors with which a keeper lets a worker in


class Refused(SandboxError):
    """There is no exact fork; the session itself goes on."""


class Reply(NamedTuple):
    """One request's end. message: the worker's reply, empty unless status is ok or error."""

    status: Status
    stdout: bytes
    stderr: bytes
    message: dict[str, Any]


class WorkerLink:
    """One worker. After any status but ok and error it is closed."""

    def __init__(
        self, server: ForkServerLink, ends: Ends, limits: OutputLimits, group: Cgroup | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._ends = ends
        self._limits = limits
        self._group = group
        self._outputs = Outputs(ends, limits, self._decide)
        self._outcome: asyncio.Future[Status | None] | None = None
        self.control = Control(ends.control)
        self.exit = self.control.exit
        self._out_of_memory = False
        self.exit.add_done_callback(self._on_exit)

    @classmethod
    async def start(cls, server: ForkServerLink, limits: OutputLimits, group: Cgroup | None) -> WorkerLink:
        """A worker in a session of its own, ready; raises SandboxError."""
        worker = cls(server, Ends(), limits, group)
        try:
            cgroups = group.open() if group else []
            server.spawn([*worker._ends.give(), *cgroups])
            await worker.ready()
        except BaseException:
            await worker.close()
            raise
        return worker

    async def ready(self) -> None:
        """Wait for the worker's greeting; raises SandboxError if it never comes."""
        reply = await self._exchange(b"", GREETING, KILL_SECONDS)
        if reply.status != "ok":
            reason = reply.stderr.decode(errors="replace").strip() or reply.status
            raise SandboxError(f"a sandbox session did not start: {reason}")

    async def call(self, request: dict[str, Any], timeout: float, output_limit: int | None = None) -> Reply:
        """Send a request and wait for its end, at most `timeout` seconds by this process's monotonic clock.

        Raises SandboxError when the fork server died. A cancelled call ends the session.
        """
        nonce = secrets.token_hex(8)
        data = json.dumps({"nonce": nonce, **request}).encode()
        limit = self._limits.stream if output_limit is None else output_limit
        self._outputs.out.limit = self._outputs.err.limit = limit
        return await self._exchange(len(data).to_bytes(4, "big") + data, nonce, timeout)

    async def _exchange(self, frame: bytes, nonce: str, timeout: float) -> Reply:
        status: Status | None = None
        message: dict[str, Any] | None = None
        outputs = self._outputs
        try:
            try:
                with outputs.watched():
                    async with asyncio.timeout(timeout):
                        status = await self._wait(frame)
                        said = outputs.reply(nonce) if status is None else None
                        if said is not None and await self._stays(nonce):
                            message, status = said, said["status"]
            except TimeoutError:
                status = "timeout"
            if status is None:
                status = await self._how_it_ended()
            if outputs.too_much():
                status = "output_limit"
        except BaseException:
            self.abandon()
            raise
        reply = Reply(status, outputs.out.take(), outputs.err.take(), message or {})
        if status not in ("ok", "error"):
            await self.close()
        return reply

    async def _wait(self, frame: bytes) -> Status | None:
        """Until a reply is complete or the worker ended (None), or it wrote too much."""
        self._outcome = self._loop.create_future()
        if self.exit.done():
            self._decide(None)
        try:
            await self._loop.sock_sendall(self._ends.channel, frame)
        except (BrokenPipeError, ConnectionResetError):
            await self.exit
        return await self._outcome

    async def _stays(self, nonce: str) -> bool:
        """Whether a worker that has replied is back in its loop, and not at its end; waits until one is true."""
        if nonce == GREETING:
            return True
        worker = self.control.worker
        either: list[asyncio.Future[Any]] = [worker, self.exit]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        while not self.exit.done():
            if worker.result().waits():
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def _how_it_ended(self) -> Status:
        """The status of a worker that sent no valid reply."""
        if self._outputs.channel.ended:
            await asyncio.wait({self.exit}, timeout=REAP_SECONDS)
        if not self.exit.done():
            self._outputs.err.data += b"killed: the program wrote to the sandbox's result channel\n"
            return "killed"
        how: How = self.exit.result()
        if how == "lost":
            raise SandboxError(f"the sandbox's fork server died: {await self._server.last_words()}")
        if how != "exited" and self._out_of_memory:
            return "oom"
        return "exited" if how == "exited" else "killed"

    def _on_exit(self, _: asyncio.Future[How]) -> None:
        """Nothing of the session is left, whoever waits for it: its group goes as well."""
        if self._group is not None:
            self._out_of_memory = self._group.ran_out_of_memory()
            self._group.remove()
            self._group = None
        self._decide(None)

    def _decide(self, status: Status | None) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(status)

    async def branch(self, groups: Sequence[Cgroup | None]) -> list[WorkerLink]:
        """Split into this worker, in its own group, and one in the same state for each of `groups`.

        Raises Refused, and the worker goes on, when they would not be exact; raises SandboxError, and the worker
        is lost, when the machinery fails. The groups are its own to remove in any case.
        """
        links: list[WorkerLink] = []
        cgroups: list[list[int]] = []
        try:
            for group in (None, *groups):
                links.append(WorkerLink(self._server, Ends(), self._limits, group))
            for group in (self._group, *groups):
                cgroups.append(group.open() if group else [])
        except OSError as error:
            for descriptor in (fd for part in cgroups for fd in part):
                os.close(descriptor)
            await asyncio.gather(*(link.close() for link in links))
            for group in groups[max(0, len(links) - 1) :]:
                if group:
                    group.remove()
            raise Refused(f"there are no descriptors for a fork: {error.strerror}") from error
        try:
            async with asyncio.timeout(BRANCH_SECONDS):
                await self._branch(links, cgroups)
        except BaseException as error:
            refused = isinstance(error, Refused)
            if not refused:
                await self.close()
            await asyncio.gather(*(link.close() for link in links))
            if refused:
                raise
            if isinstance(error, TimeoutError):
                raise SandboxError(f"a fork was not done after {BRANCH_SECONDS:g} s") from error
            raise
        links[0]._group, self._group = self._group, None
        self.control.leave()
        self._ends.close()
        return links

    async def _branch(self, links: list[WorkerLink], cgroups: list[list[int]]) -> None:
        given = [link._ends.give() for link in links]
        passed: list[int] = []
        try:
            to_keeper = [
                fd for (control, *_), group in zip(given, cgroups, strict=True) for fd in (control, *group)
            ]
            answer, passed = await self.control.ask({"branch": len(links)}, to_keeper)
            if "refused" in answer:
                raise Refused(f"the session cannot be forked exactly: it has {answer['refused']}")
            to_worker = [
                fd for i, (_, *rest) in enumerate(given) for fd in (*passed[i * ENTRANCES :][:ENTRANCES], *rest)
            ]
            socket.send_fds(self._ends.channel, [(2).to_bytes(4, "big") + b"{}"], to_worker)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise SandboxError("the session ended meanwhile") from error
        finally:
            for descriptor in (*passed, *(fd for part in (*given, *cgroups) for fd in part)):
                os.close(descriptor)
        await asyncio.gather(*(link.ready() for link in links))
        answer, _ = await self.control.ask({"settle": [link._ends.inodes for link in links]})
        if "refused" in answer:
            raise SandboxError(f"a fork was not exact: {answer['refused']}")
        if self.exit.done():  # with the answer, or right behind it
            raise SandboxError(f"the session ended meanwhile ({self.exit.result()})")

    @property
    def ended(self) -> bool:
        """True when it can take no more calls."""
        return self._ends.closed or self.exit.done()

    def kill(self) -> None:
        """Order the session's end; a call in flight returns."""
        self.control.hang_up()

    def abandon(self) -> None:
        """Order the session's end and free the descriptors, without waiting. Not during a call."""
        if not self._ends.closed:
            self.kill()
            self._ends.close()

    async def close(self) -> None:
        """Kill everything the session started and wait until it is gone. May be called twice."""
        self.abandon()
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await asyncio.shield(self.exit)
        except TimeoutError as error:
            raise SandboxError(f"a sandbox session is not dead after {KILL_SECONDS:g} s") from error
