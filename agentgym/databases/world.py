"""The host's end of a world's process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agentgym.database import Access, Table, Template
from agentgym.databases.wire import HEAD, frame, read_table, unframe
from agentgym.errors import EnvError, SqlError, SqlTooMuch, TaskError

if TYPE_CHECKING:
    from agentgym.databases.worlds import Worlds

AT_ONCE = 1 << 20
END_SECONDS = 10.0
MAX_SQL = 100_000
CRASHED = "it broke the database, or takes too much memory"


class World:
    """A live world: see Database. It answers one request at a time.

    living: where it and its forks enter themselves until they are closed.
    """

    def __init__(self, config: Worlds, living: set[World]) -> None:
        self._end, self.other = socket.socketpair()  # the other end is for the process, and closed here then
        self._end.setblocking(False)
        self._config = config
        self._living = living
        living.add(self)
        self._turn = asyncio.Lock()
        self._pidfd: int | None = None
        self._broken = ""

    async def greet(self) -> None:
        """Wait until its process is there."""
        await self._ask(None)

    async def load(self, template: Template) -> None:
        """Make it the world of a template. Raises TaskError for one that cannot be loaded."""
        reply = await self._ask({"do": "load", "template": template.to_table()})
        if "unsafe" in reply:
            raise EnvError(f"there can be no walls around a database here: {reply['unsafe']}")
        if "refused" in reply:
            what = template.file or "a script"
            raise TaskError(f"the {template.dialect} database of {what} cannot be loaded: {reply['refused']}")

    async def execute(self, sql: str, max_rows: int) -> Table:
        """See Database."""
        if len(sql) > MAX_SQL or any("\ud800" <= letter <= "\udfff" for letter in sql):
            raise SqlError(f"a statement is Unicode text of at most {MAX_SQL:,} characters")
        return read_table(await self._do({"do": "execute", "sql": sql, "rows": max_rows}))

    async def state(self) -> Mapping[str, Table]:
        """See Database."""
        return {name: read_table(table) for name, table in (await self._do({"do": "state"})).items()}

    async def fork(self, access: Access | None = None) -> World:
        """See Database. access: what the second one may do; None: the same as this one."""
        twin = World(self._config, self._living)
        try:
            with twin.other:
                reply = await self._ask({"do": "fork", "access": access}, [twin.other.fileno()])
            if "refused" in reply:
                raise EnvError(f"a world cannot be forked: {reply['refused']}")
            await twin.greet()
        except BaseException:
            await twin.close()
            raise
        return twin

    async def close(self) -> None:
        """End its processes, whatever they are doing, and see them gone; may be called twice."""
        if self not in self._living:
            return
        with suppress(OSError):  # who would go on in its place is told as well
            self._end.shutdown(socket.SHUT_WR)
        self._break("it is closed")
        self._living.discard(self)
        self.other.close()
        with suppress(TimeoutError, ConnectionResetError):
            async with asyncio.timeout(END_SECONDS if self._pidfd is not None else 0), self._turn:
                while await asyncio.get_running_loop().sock_recv(self._end, AT_ONCE):  # until nobody holds it
                    continue
        self._end.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    async def _do(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What comes of a request. What its process dies of without a reason is tried again, since somebody else
        may have killed it: who dies of the statement dies twice."""
        for reason in ("", CRASHED):
            began = time.monotonic()
            reply = await self._ask(request)
            if "died" not in reply:
                break
            if time.monotonic() - began >= self._config.seconds:
                reason = f"no result within {self._config.seconds:g} s"
            if reason := reply["died"] or reason:
                raise SqlTooMuch(f"{reason}; nothing was changed by it")
        if "refused" in reply:
            raise SqlError(reply["refused"])
        done: dict[str, Any] = reply["done"]
        return done

    async def _ask(self, request: Mapping[str, Any] | None, descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """The answer; None waits for one without asking."""
        async with self._turn:
            if self._broken:
                raise EnvError(f"the database's world is lost: {self._broken}")
            try:
                async with asyncio.timeout(self._config.patience):
                    if request is not None:
                        await self._send(frame(request), descriptors)
                    reply = unframe(await self._read(int.from_bytes(await self._read(HEAD), "big")))
                self._know(reply)
            except TimeoutError:
                self._break(f"it gave no answer within {self._config.patience:g} s")
            except (OSError, EOFError):
                self._break("its process died")
            except BaseException:  # what it still answers would be taken for the answer to the next request
                self._break("a request was broken off")
                raise
            if self._broken:
                raise EnvError(f"the database's world is lost: {self._broken}")
            return reply

    async def _send(self, data: bytes, descriptors: Sequence[int]) -> None:
        if descriptors:
            data = data[socket.send_fds(self._end, [data], descriptors) :]  # there is room: nothing is under way
        await asyncio.get_running_loop().sock_sendall(self._end, data)

    async def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = await asyncio.get_running_loop().sock_recv(self._end, min(size - len(data), AT_ONCE))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def _know(self, reply: Mapping[str, Any]) -> None:
        """Which process it is, where the answer tells: it has answered, and so the number is still its own."""
        if "pid" in reply:
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None
            self._pidfd = os.pidfd_open(reply["pid"])

    def _break(self, reason: str) -> None:
        """End it now; the first reason stays."""
        self._broken = self._broken or reason
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
