"""The host's end of a container's gateway, over the attached stdin and stdout of the container.

Whatever arrives here came from inside: sizes are bounded before anything is decoded, and anything that is not an
expected reply ends the connection.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agentgym.errors import SandboxError
from agentgym.sandboxes.containers.gateway import HEAD, frame

MULTIPLEX_HEAD = 8  # the daemon's: a byte for the stream, three empty ones, four of size
STDOUT, STDERR = 1, 2
LAST_WORDS = 2000
SMALL = 1 << 16
"""Bytes of a reply, without what it carries."""


class Gone(Exception):
    """The connection has ended; the text says why, as far as it is known here."""


@dataclass
class Question:
    """A request under way. limit: bytes that its reply may have."""

    limit: int
    answer: asyncio.Future[dict[str, Any]] = field(default_factory=asyncio.Future)


class GatewayClient:
    """Many requests may be under way at a time. Once the connection has ended, every request raises Gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._greeting = Question(SMALL)
        self._questions = {0: self._greeting}
        self._next = 1
        self._data = bytearray()
        self._stderr = bytearray()
        self.ended = ""
        self._reading = asyncio.ensure_future(self._read())

    async def greeting(self) -> dict[str, Any]:
        """What the gateway says when it is ready; raises Gone."""
        return await self._greeting.answer

    async def ask(self, do: str, reply_limit: int, fields: dict[str, Any]) -> dict[str, Any]:
        """Have something done; a cancelled request is cancelled inside as well.

        reply_limit: bytes of text or data that the reply may carry. Raises SandboxError and OSError as the session
        inside did, and Gone.
        """
        if self.ended:
            raise Gone(self.ended)
        id_, self._next = self._next, self._next + 1
        question = self._questions[id_] = Question(SMALL + reply_limit)
        try:
            await self._send({"id": id_, "do": do, **fields})
            reply = await question.answer
        except asyncio.CancelledError:
            self._writer.write(frame({"do": "cancel", "request": id_}))
            raise
        if "error" not in reply:
            done: dict[str, Any] = reply["ok"]
            return done
        message, code = str(reply.get("message"))[:LAST_WORDS], reply.get("errno")
        if reply["error"] == "os":
            raise OSError(code, message) if isinstance(code, int) else OSError(message)
        raise SandboxError(message)

    async def close(self) -> None:
        """End the connection; may be called twice."""
        self._reading.cancel()
        await asyncio.wait({self._reading})
        self._end("it was closed")
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(frame(message))
        try:
            await self._writer.drain()
        except ConnectionError as error:
            self._end(str(error))

    async def _read(self) -> None:
        """Until the connection ends, or something arrives that was not to be expected."""
        try:
            while True:
                head = await self._reader.readexactly(MULTIPLEX_HEAD)
                data = await self._reader.readexactly(int.from_bytes(head[4:], "big"))
                if head[0] == STDOUT:
                    self._data += data
                    self._take_frames()
                else:
                    self._stderr = (self._stderr + data)[-LAST_WORDS:]
        except (asyncio.IncompleteReadError, ConnectionError):
            self._end(self._stderr.decode(errors="replace").strip())
        except ValueError as error:
            self._end(f"the gateway broke the protocol: {error}")

    def _take_frames(self) -> None:
        """Hand out the complete frames; raises ValueError for anything else than replies that are waited for."""
        while len(self._data) >= HEAD:
            size = int.from_bytes(self._data[:HEAD], "big")
            if size > max((question.limit for question in self._questions.values()), default=0):
                raise ValueError(f"a reply of {size} bytes")
            if len(self._data) < HEAD + size:
                return
            reply = parse(bytes(self._data[HEAD : HEAD + size]))
            del self._data[: HEAD + size]
            question = self._questions.pop(reply["id"], None)
            if question is None:
                raise ValueError("a reply to nothing")
            if not question.answer.cancelled():
                question.answer.set_result(reply)

    def _end(self, reason: str) -> None:
        if not self.ended:
            self.ended = reason or "without a word"
        for question in self._questions.values():
            if not question.answer.done():
                question.answer.set_exception(Gone(self.ended))
                question.answer.exception()  # nobody may be waiting
        self._questions.clear()


def parse(data: bytes) -> dict[str, Any]:
    """A reply; raises ValueError for anything else."""
    try:
        reply = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(reply, dict) or not isinstance(reply.get("id"), int):
        raise ValueError("no reply")
    if not (isinstance(reply.get("ok"), dict) or isinstance(reply.get("error"), str)):
        raise ValueError("a reply that is neither ok nor an error")
    return reply
