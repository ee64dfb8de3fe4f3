"""A Python function, or an instance of a class with `__call__`, as a tool."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym.errors import AgentgymError, ToolFailed
from agentgym.tooling.result import to_text
from agentgym.tooling.threads import Threads

if TYPE_CHECKING:
    from agentgym.tool import Limits, ToolContext, ToolSpec
    from agentgym.tooling.schema import Signature


@dataclass(frozen=True, slots=True, eq=False)
class FunctionTool:
    """target: what is called; nothing of ours is asked of it. is_async: whether calling it gives a coroutine.
    forks: whether it has a state, and so a `fork`.

    What is no coroutine function runs in a thread, so that a slow one holds up no other episode.
    """

    target: Any
    is_async: bool
    signature: Signature
    limits: Limits
    ordered: bool
    forks: bool
    threads: Threads

    @property
    def spec(self) -> ToolSpec:
        return self.signature.spec

    @property
    def examples(self) -> Sequence[Mapping[str, Any]]:
        """Arguments that the author gave to try it with: the attribute `examples` of a function or class."""
        found: Sequence[Mapping[str, Any]] = getattr(self.target, "examples", ())
        return found

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        bound = self.signature.bind(arguments)
        if self.signature.context is not None:
            bound[self.signature.context] = context
        return to_text(await self._run(functools.partial(self.target, **bound), self.is_async))

    async def fork(self) -> FunctionTool:
        if not self.forks:
            return self
        try:
            twin = await self._run(self.target.fork, is_async(self.target.fork))
        except AgentgymError:
            raise
        except Exception as error:
            raise ToolFailed(f"tool {self.spec.name!r}: its fork: {type(error).__name__}: {error}") from error
        if twin is self.target:
            raise ToolFailed(
                f"tool {self.spec.name!r}: its fork is itself; say `stateless = True`, or copy the state"
            )
        return dataclasses.replace(self, target=twin, is_async=is_async(twin))

    async def close(self) -> None:
        """A stateless one is shared: who opened it ends it."""
        if self.forks:
            await self.end()

    async def end(self) -> None:
        """Call the target's `close`, where it has one."""
        if hasattr(self.target, "close"):
            await self._run(self.target.close, is_async(self.target.close))

    async def _run(self, work: Callable[[], Any], gives_coroutine: bool) -> Any:
        try:
            if gives_coroutine:
                return await work()
            returned = await self.threads.run(work)
            return await returned if inspect.isawaitable(returned) else returned
        except SystemExit as error:
            raise ToolFailed(f"tool {self.spec.name!r} tried to end the program: {error!r}") from error


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    called = function if inspect.isroutine(function) else type(function).__call__
    return inspect.iscoroutinefunction(called)
