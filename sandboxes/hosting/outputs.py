"""What a worker writes: replies, and what programs print.

It was written by a process that runs the policy's code: sizes are bounded before anything is decoded.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from agentgym.sandboxes.hosting.ends import Ends

CHUNK = 65536
STATUSES = ("ok", "error", "oom")


class OutputLimits(NamedTuple):
    """In bytes: of each stream of a program, and of a reply on the result channel."""

    stream: int
    reply: int


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


class Outputs:
    """The bounded readers of the result channel, stdout and stderr.

    decide: told None when a reply may be complete or none can come, `output_limit` when a program prints too much.
    """

    def __init__(
        self, ends: Ends, limits: OutputLimits, decide: Callable[[Literal["output_limit"] | None], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._decide = decide
        self.channel = Bounded(ends.channel.fileno(), limits.reply)
        self.out, self.err = Bounded(ends.out, limits.stream), Bounded(ends.err, limits.stream)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Read as it comes."""
        add: Callable[..., None] = self._loop.add_reader
        add(self.channel.descriptor, self._on_channel)
        add(self.out.descriptor, self._on_output, self.out)
        add(self.err.descriptor, self._on_output, self.err)
        try:
            yield
        finally:
            for stream in (self.channel, self.out, self.err):
                self._loop.remove_reader(stream.descriptor)

    def reply(self, nonce: str) -> dict[str, Any] | None:
        """The reply to the request that carried `nonce`; None for anything else."""
        self.channel.drain()
        size, data = self.channel.data[:4], self.channel.data[4:]
        self.channel.data = bytearray()
        if len(size) < 4 or len(data) != int.from_bytes(size, "big"):
            return None
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            return None
        valid = isinstance(message, dict) and message.get("nonce") == nonce and message.get("status") in STATUSES
        return message if valid else None

    def too_much(self) -> bool:
        """Whether more was printed than is allowed, all there is by now."""
        self.out.drain()
        self.err.drain()
        return self.out.full or self.err.full

    def _on_channel(self) -> None:
        channel = self.channel
        channel.read()
        if channel.ended:
            self._loop.remove_reader(channel.descriptor)
            self._decide(None)
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
