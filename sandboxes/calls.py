"""The host's end of one worker: bounded readers on its result channel, stdout and stderr, and the deadline.

Whatever arrives here was written by a process that runs the policy's code: sizes are bounded before anything
is decoded, and a frame that is not the expected reply ends the session.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from agentgym.errors import SandboxError
from agentgym.sandbox import Status
from agentgym.sandboxes.link import ForkServerLink, How

CHUNK = 65536
STATUSES = ("ok", "error", "oom")
KILL_SECONDS = 30.0


class Reply(NamedTuple):
    """One request's end. message: the worker's reply, empty unless status is ok or error."""

    status: Status
    stdout: bytes
    stderr: bytes
    message: dict[str, Any]


class Bounded:
    """A non-blocking descriptor read into memory up to a limit in bytes."""

    def __init__(self, descriptor: int, limit: int) -> None:
        self.descriptor = descriptor
        self.limit = limit
        self.data = bytearray()
        self.ended = False

    def read(self) -> bool:
        """Take one chunk; False when there was nothing to take."""
        try:
            chunk = os.read(self.descriptor, CHUNK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            chunk = b""
        self.data += chunk
        self.ended = not chunk
        return bool(chunk)

    def drain(self) -> None:
        """Take what is there now, at most to the limit."""
        while not self.full and self.read():
            pass

    @property
    def full(self) -> bool:
        """More than the limit has come."""
        return len(self.data) > self.limit

    def take(self) -> bytes:
        """What has come, capped, leaving nothing."""
        data, self.data = bytes(self.data[: self.limit]), bytearray()
        return data


def pipe(opened: ExitStack) -> tuple[int, int]:
    """A pipe whose reading end does not block."""
    ends = os.pipe()
    for end in ends:
        opened.callback(os.close, end)
    os.set_blocking(ends[0], False)
    return ends


class WorkerLink:
    """One worker. After any status but ok and error it is closed."""

    def __init__(self, server: ForkServerLink, reply_limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        with ExitStack() as opened:  # closes what it has if the next is refused
            self._socket, theirs = map(opened.enter_context, socket.socketpair())
            (out, out_theirs), (err, err_theirs) = pipe(opened), pipe(opened)
            opened.pop_all()
        self._socket.setblocking(False)
        self._channel = Bounded(self._socket.fileno(), reply_limit)
        self._stdout, self._stderr = Bounded(out, CHUNK), Bounded(err, CHUNK)
        self._outcome: asyncio.Future[Status | None] | None = None
        self._closed = False
        self._id, self.exit = server.spawn([theirs.detach(), out_theirs, err_theirs])
        self.exit.add_done_callback(lambda _: self._decide(None))

    async def ready(self) -> None:
        """Wait for the worker's greeting; raises SandboxError if it never comes."""
        reply = await self._exchange(b"", "ready", KILL_SECONDS)
        if reply.status != "ok":
            reason = reply.stderr.decode(errors="replace").strip() or reply.status
            raise SandboxError(f"a sandbox session did not start: {reason}")

    async def call(self, request: dict[str, Any], timeout: float, output_limit: int) -> Reply:
        """Send a request and wait for its end, at most `timeout` seconds by this process's monotonic clock.

        output_limit: bytes per stream.
        Raises SandboxError when the fork server died. A cancelled call ends the session.
        """
        nonce = secrets.token_hex(8)
        self._stdout.limit = self._stderr.limit = output_limit
        data = json.dumps({"nonce": nonce, **request}).encode()
        return await self._exchange(len(data).to_bytes(4, "big") + data, nonce, timeout)

    async def _exchange(self, frame: bytes, nonce: str, timeout: float) -> Reply:
        status: Status | None = None
        try:
            self._watch()
            try:
                async with asyncio.timeout(timeout):
                    status = await self._wait(frame)
            except TimeoutError:
                status = "timeout"
            finally:
                self._unwatch()
            message = self._parse(nonce) if status is None else None
            if message is not None:
                status = message["status"]
            elif status is None:
                status = await self._how_it_ended()
            self._stdout.drain()
            self._stderr.drain()
            if self._stdout.full or self._stderr.full:
                status = "output_limit"
        except BaseException:
            self.abandon()
            raise
        reply = Reply(status, self._stdout.take(), self._stderr.take(), message or {})
        if status not in ("ok", "error"):
            await self.close()
        return reply

    async def _wait(self, frame: bytes) -> Status | None:
        """Until a reply is complete or the worker ended (None), or it wrote too much."""
        self._outcome = self._loop.create_future()
        if self.exit.done():
            self._decide(None)
        try:
            await self._loop.sock_sendall(self._socket, frame)
        except (BrokenPipeError, ConnectionResetError):
            await self.exit
        return await self._outcome

    async def _how_it_ended(self) -> Status:
        """The status of a worker that sent no valid reply."""
        if not self.exit.done():
            self._stderr.data += b"killed: the program wrote to the sandbox's result channel\n"
            return "killed"
        how: How = self.exit.result()
        if how == "lost":
            raise SandboxError(f"the sandbox's fork server died: {await self._server.last_words()}")
        return "exited" if how == "exited" else "killed"

    def _parse(self, nonce: str) -> dict[str, Any] | None:
        """The reply to the request that carried `nonce`; None for anything else."""
        self._channel.drain()
        size, data = self._channel.data[:4], self._channel.data[4:]
        self._channel.data = bytearray()
        if len(size) < 4 or len(data) != int.from_bytes(size, "big"):
            return None
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            return None
        valid = isinstance(message, dict) and message.get("nonce") == nonce and message.get("status") in STATUSES
        return message if valid else None

    def _decide(self, status: Status | None) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(status)

    def _on_channel(self) -> None:
        channel = self._channel
        channel.read()
        if channel.ended:
            self._loop.remove_reader(channel.descriptor)  # its exit is on the way
        elif len(channel.data) >= 4:
            size = int.from_bytes(channel.data[:4], "big")
            if size > channel.limit or len(channel.data) - 4 >= size:
                self._decide(None)

    def _on_output(self, stream: Bounded) -> None:
        stream.read()
        if stream.full:
            self._decide("output_limit")
        if stream.full or stream.ended:
            self._loop.remove_reader(stream.descriptor)

    def _watch(self) -> None:
        add: Callable[..., None] = self._loop.add_reader
        add(self._channel.descriptor, self._on_channel)
        add(self._stdout.descriptor, self._on_output, self._stdout)
        add(self._stderr.descriptor, self._on_output, self._stderr)

    def _unwatch(self) -> None:
        for stream in (self._channel, self._stdout, self._stderr):
            self._loop.remove_reader(stream.descriptor)

    @property
    def ended(self) -> bool:
        """True when it can take no more calls."""
        return self._closed or self.exit.done()

    def kill(self) -> None:
        """Order the session's end; a call in flight returns."""
        self._server.kill(self._id)

    def abandon(self) -> None:
        """Order the session's end and free the descriptors, without waiting. Not during a call."""
        if not self._closed:
            self._closed = True
            self.kill()
            self._socket.close()
            os.close(self._stdout.descriptor)
            os.close(self._stderr.descriptor)

    async def close(self) -> None:
        """Kill everything the session started and wait until it is gone. May be called twice."""
        self.abandon()
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await asyncio.shield(self.exit)
        except TimeoutError as error:
            raise SandboxError(f"a sandbox session is not dead after {KILL_SECONDS:g} s") from error
