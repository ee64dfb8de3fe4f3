"""The tools of one episode: carries out the policy's calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from agentgym.errors import ConfigError, ToolError, did_you_mean
from agentgym.tool import MAX_TOKENS, Call, Result, Tool, ToolContext, Toolset, ToolSpec
from agentgym.tooling.function import FunctionTool
from agentgym.tooling.limits import Limiters, SharedLimits


class Toolbox:
    """calls: those that were carried out, also when the tool answered with an error. refused: those that were not,
    since there is no such tool or no budget for it."""

    def __init__(self, tools: Sequence[Tool], context: ToolContext, limiters: Limiters) -> None:
        self.context = context
        self.calls = self.refused = 0
        self._limiters = limiters
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.spec.name in self._tools:
                raise ConfigError(f"two tools are called {tool.spec.name!r}; leave one of them out")
            self._tools[tool.spec.name] = tool
        self._limited = {name: limiters.of(tool) for name, tool in self._tools.items()}

    @classmethod
    async def open(cls, toolsets: Sequence[Toolset], context: ToolContext) -> Toolbox:
        """The tools of a new episode. Raises ConfigError for two of one name, ToolFailed where one cannot be
        had."""
        tools: list[Tool] = []
        try:
            for toolset in toolsets:
                tools += await toolset.open(context.services)
            return cls(tools, context, await context.services.get(SharedLimits()))
        except BaseException:
            await _close(tools)
            raise

    @property
    def specs(self) -> list[ToolSpec]:
        """What a policy is told of the tools."""
        return [tool.spec for tool in self._tools.values()]

    def target(self, name: str) -> Any:
        """The function or object that the tool of this name calls; the tool must be one of Python."""
        tool = self._tools[name]
        assert isinstance(tool, FunctionTool), f"{name} is called elsewhere"
        return tool.target

    def ordered(self, name: str) -> bool:
        """Whether calls of the tool must come one after the other; `run` sees to those that it gets together."""
        return name in self._tools and self._tools[name].ordered

    async def run(self, calls: Sequence[Call]) -> list[Result]:
        """The results, in the order of the calls. They run at the same time, but those of a tool with state one
        after the other. Raises ToolTimeout, ToolFailed and what sandboxes raise; the other calls are cancelled."""
        if len(calls) == 1:
            return [await self._run(calls[0])]
        before: dict[str, asyncio.Task[Result]] = {}
        running: list[asyncio.Task[Result]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    task = group.create_task(self._run(call, after=before.get(call.tool)))
                    running.append(task)
                    if call.tool in self._tools and self._tools[call.tool].ordered:
                        before[call.tool] = task
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in running]

    async def _run(self, call: Call, after: asyncio.Task[Result] | None = None) -> Result:
        if after is not None:
            await asyncio.wait({after})
        tool = self._tools.get(call.tool)
        if tool is None:
            return self._refuse(call, f"there is no tool {call.tool!r}: {did_you_mean(call.tool, self._tools)}")
        limits, budget = tool.limits, self.context.budget
        if not budget.allows(limits.cost):
            return self._refuse(call, f"{call.tool} costs {limits.cost:g}, more than is left of the budget")
        budget.spent += limits.cost
        self.calls += 1
        try:
            output = await self._limited[call.tool].call(tool, call.arguments, self.context)
        except ToolError as error:
            return Result(call, f"Error: {error}", False, max(limits.max_tokens, MAX_TOKENS))
        return Result(call, output, True, limits.max_tokens)

    def _refuse(self, call: Call, reason: str) -> Result:
        self.refused += 1
        return Result(call, f"Error: {reason}", False)

    async def fork(self, seed: int | None, trajectory: str = "") -> Toolbox:
        """The same tools in the same state for a fork of the episode; `seed` reseeds its randomness.

        Raises SandboxError where a tool's state cannot be copied; nothing is left behind then.
        """
        context = await self.context.fork(seed, trajectory)
        tools: list[Tool] = []
        try:
            for tool in self._tools.values():
                tools.append(await tool.fork())
        except BaseException:
            await _close(tools)
            await context.close()
            raise
        twin = Toolbox(tools, context, self._limiters)
        twin.calls, twin.refused = self.calls, self.refused
        return twin

    async def close(self) -> None:
        """Close the tools and what belongs to the episode; may be called twice."""
        try:
            await _close(list(self._tools.values()))
        finally:
            await self.context.close()


async def _close(tools: Sequence[Tool]) -> None:
    """Close every tool; the first error is raised after all are closed."""
    results = await asyncio.gather(*(tool.close() for tool in tools), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
