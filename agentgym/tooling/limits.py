"""What keeps a tool's calls within its limits: a deadline each, and what all episodes of a run share."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym.errors import AgentgymError, ConfigError, ToolFailed, ToolTimeout
from agentgym.tool import Limits, Tool, ToolContext

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

CACHED = 10_000
"""Answers that a tool with a cache keeps; those not asked for longest go first."""


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """A service: the limiters of a run's tools."""

    async def open(self) -> Limiters:
        return Limiters()


class Limiters:
    """One limiter for each tool by name and limits."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Limits], Limiter] = {}

    def of(self, tool: Tool) -> Limiter:
        """The limiter of `tool`. Raises ConfigError for a cache where answers depend on more than arguments."""
        key = (tool.spec.name, tool.limits)
        if key not in self._made:
            if tool.limits.cache and tool.ordered:
                raise ConfigError(f"tool {key[0]!r} holds state, so its answers cannot be cached: leave cache out")
            self._made[key] = Limiter(*key)
        return self._made[key]

    async def close(self) -> None:
        """Nothing is held but memory."""


class Limiter:
    """Calls of one tool, from all episodes."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name, self.limits = name, limits
        self._shared = _gates(limits)
        self._answers: OrderedDict[str, str] | None = OrderedDict() if limits.cache else None

    async def call(self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """The tool's answer. Raises ToolError, ToolTimeout, ToolFailed for whatever else the tool raised, and
        errors of ours (a sandbox's, say) as they are."""
        if self._answers is None:
            calls = self._in_turn if self._shared else self._in_time
            return await calls(tool, arguments, context)
        key = json.dumps(arguments, sort_keys=True, default=repr)
        if key not in self._answers:
            self._answers[key] = await self._in_turn(tool, arguments, context)
        self._answers.move_to_end(key)
        answer = self._answers[key]
        if len(self._answers) > CACHED:
            self._answers.popitem(last=False)
        return answer

    async def _in_turn(self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """The deadline begins when it is the call's turn: it is not this one that keeps the tool busy."""
        async with AsyncExitStack() as stack:
            for gate in self._shared:
                await stack.enter_async_context(gate)
            return await self._in_time(tool, arguments, context)

    async def _in_time(self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> str:
        try:
            async with asyncio.timeout(self.limits.timeout) as deadline:
                tries = self._tries if self.limits.retries else self._once
                answer = await tries(tool, arguments, context)
        except TimeoutError as error:
            if deadline.expired():
                raise ToolTimeout(f"tool {self.name!r} gave no answer within {self.limits.timeout:g} s") from error
            raise
        if asyncio.get_running_loop().time() > (deadline.when() or 0.0):
            raise ToolTimeout(
                f"tool {self.name!r} answered after more than {self.limits.timeout:g} s in which nothing else "
                f"could run: one that blocks should be a plain function, which gets a thread, or await"
            )
        return answer

    async def _tries(self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> str:
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        again = AsyncRetrying(
            stop=stop_after_attempt(self.limits.retries + 1),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            retry=retry_if_exception_type((ToolFailed, ToolTimeout)),
            reraise=True,
        )
        return await again(self._once, tool, arguments, context)

    async def _once(self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> str:
        try:
            return await tool.call(arguments, context)
        except (AgentgymError, asyncio.CancelledError):
            raise
        except TimeoutError as error:
            raise ToolTimeout(f"tool {self.name!r}: {error or 'a timeout of its own'}") from error
        except Exception as error:
            raise ToolFailed(f"tool {self.name!r}: {type(error).__name__}: {error}{_place(error)}") from error


def _place(error: Exception) -> str:
    """Where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _gates(limits: Limits) -> tuple[asyncio.Semaphore | AsyncLimiter, ...]:
    gates: list[asyncio.Semaphore | AsyncLimiter] = []
    if limits.concurrency is not None:
        gates.append(asyncio.Semaphore(limits.concurrency))
    if limits.rate is not None:
        from agentgym.pace import pace

        gates.append(pace(limits.rate))
    return tuple(gates)
