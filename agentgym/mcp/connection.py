"""The connection of a run with an MCP server, whose sessions may come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import mcp_types as types

from agentgym.errors import ToolError, ToolFailed, ToolTimeout, did_you_mean
from agentgym.mcp.session import Forgotten, Session

if TYPE_CHECKING:
    from agentgym.mcp.address import Address

TRIES = 4
"""Sessions that are begun in a row for a call, before it fails."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a server is tried again; doubled each time, until it answers a call."""


class Connection:
    """Answers calls from all episodes of a run at the same time, and begins a new session where one has ended."""

    def __init__(self, server: Address) -> None:
        self.server = server
        self._opening: asyncio.Task[Session] | None = None
        self._sessions: list[Session] = []  # the last one lives; others may still have to end
        self._unanswered = 0  # sessions begun since a call was answered
        self._closed = False

    async def session(self) -> Session:
        """The one that lives, or a new one. Raises ToolFailed when the server does not come back."""
        if self._closed:
            raise ToolFailed(f"the connection with {self.server} is closed")
        if self._opening is None or _is_over(self._opening):
            again = self._opening is not None
            self._opening = asyncio.create_task(self._begin(again), name=f"mcp begin {self.server}")
        return await asyncio.shield(self._opening)  # a caller that loses patience does not stop it for the others

    async def tools(self) -> Mapping[str, types.Tool]:
        """What the server has now, by name. Raises ToolFailed."""
        return await (await self.session()).tools()

    async def call(self, name: str, arguments: Mapping[str, Any], timeout: float) -> types.CallToolResult:
        """A tool's result. Raises ToolTimeout after `timeout` seconds, and the server is told then; ToolError for
        a tool that is gone or arguments that the server refuses; ToolFailed when the server fails in the midst."""
        try:
            async with asyncio.timeout(timeout) as deadline:
                for _ in range(TRIES):
                    session = await self.session()
                    known = await session.tools()
                    if name not in known:
                        raise ToolError(f"there is no tool {name!r} any more: {did_you_mean(name, known)}")
                    try:
                        result = await session.call(name, arguments)
                    except Forgotten:
                        continue
                    self._unanswered = 0
                    return result
                raise ToolFailed(f"{self.server} forgets each session before it has answered a call")
        except TimeoutError as error:
            if deadline.expired():
                raise ToolTimeout(f"tool {name!r} of {self.server} gave no answer in {timeout:g} s") from error
            raise

    async def _begin(self, again: bool) -> Session:
        """again: after another one; what fails the first time is mostly not there at all, and not tried anew."""
        for _ in range(TRIES - 1 if again else 0):
            with suppress(ToolFailed):
                return await self._open()
        return await self._open()

    async def _open(self) -> Session:
        if self._unanswered:
            await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._unanswered - 1)))
        self._unanswered += 1
        session = await Session.open(self.server)
        self._sessions = [other for other in self._sessions if not other.ended] + [session]
        return session

    async def close(self) -> None:
        """End the session, or what begins one; may be called twice."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        await asyncio.gather(*(session.close() for session in self._sessions))


def _is_over(opening: asyncio.Task[Session]) -> bool:
    return opening.done() and (opening.cancelled() or bool(opening.exception()) or opening.result().over)
