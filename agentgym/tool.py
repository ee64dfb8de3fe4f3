"""The tool contract: what a policy can call.

A tool is a plain or async function; its type hints and docstring are its schema. One that holds state is a class
with `__call__` and `fork`. Neither needs anything of ours, except what it asks for: `ToolContext` as a parameter's
type hint, `ToolError` to refuse, `@limits(...)` to set limits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agentgym.config import Spec, build, convert
from agentgym.ranges import above, at_least

if TYPE_CHECKING:
    import asyncio

    from agentgym.sandbox import Sandbox, SandboxHost
    from agentgym.services import Services

T = TypeVar("T")

MARK = "__agentgym_limits__"
MAX_TOKENS = 512
"""Of an output that a policy sees, unless its tool says otherwise."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What a policy is told of a tool. parameters: the JSON schema of an object, one property an argument."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash((self.name, self.description))  # parameters are no part: they cannot be hashed

    def function(self) -> dict[str, Any]:
        """In the form of OpenAI's API and of chat templates."""
        about = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": about}


@dataclass(frozen=True, slots=True)
class Call:
    """What a policy asks of a tool. id: the policy's own name for the call, where its protocol has one."""

    tool: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a call. output: for the policy. ok: False when the call was refused and did nothing, or the
    tool raised ToolError. max_tokens: how much of the output the policy may see."""

    call: Call
    output: str
    ok: bool = True
    max_tokens: int = MAX_TOKENS


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tool may take, and who pays for it.

    timeout: seconds a call may take, over all tries; then the episode ends as tool_timeout. concurrency, rate:
    calls at a time and calls a second, of all episodes of a process together. retries: further tries after an
    exception other than ToolError. cache: the same arguments get the same answer; not for tools with state. cost:
    what a call takes off an episode's budget. max_tokens: of an output that the policy sees; the middle of longer
    ones is left out.
    """

    timeout: float = 30.0
    concurrency: int | None = None
    rate: float | None = None
    retries: int = 0
    cache: bool = False
    cost: float = 0.0
    max_tokens: int = MAX_TOKENS

    def __post_init__(self) -> None:
        above(self, 0, "timeout", "concurrency", "rate", "max_tokens")
        at_least(self, 0, "retries", "cost")


def limits(**fields: Any) -> Callable[[T], T]:
    """Give a function or class limits of its own: `@limits(timeout=5, retries=2)`. Fields as in Limits."""

    def mark(thing: T) -> T:
        setattr(thing, MARK, convert(Limits, fields, "@limits"))
        return thing

    return mark


@dataclass(slots=True)
class Budget:
    """What the tools of an episode may cost together. limit: None is without end."""

    limit: float | None = None
    spent: float = 0.0

    def allows(self, cost: float) -> bool:
        """Whether `cost` more would stay within the limit."""
        return self.limit is None or self.spent + cost <= self.limit


@dataclass(eq=False)
class ToolContext:
    """An episode's belongings, shared by its tools; a fork of the episode has its own.

    rng: the episode's randomness. trajectory: a name for the episode, its own in the whole run.
    """

    services: Services
    rng: random.Random = field(default_factory=random.Random)
    sandbox_config: Spec = "auto"
    budget: Budget = field(default_factory=Budget)
    trajectory: str = ""
    _session: Sandbox | None = field(default=None, init=False, repr=False)
    _opening: asyncio.Lock | None = field(default=None, init=False, repr=False)

    async def sandbox(self) -> Sandbox:
        """The episode's sandbox session, opened by whoever asks first. Its files are the episode's files."""
        import asyncio

        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if self._session is None:
                host: SandboxHost = await self.services.get(build("sandbox", self.sandbox_config))
                self._session = await host.session()
            return self._session

    async def fork(self, seed: int | None, trajectory: str) -> ToolContext:
        """The same belongings for a fork of the episode; `seed` reseeds its randomness, None copies it.

        Raises SandboxError where the session cannot be forked.
        """
        twin = ToolContext(
            self.services,
            random.Random(seed),
            self.sandbox_config,
            Budget(self.budget.limit, self.budget.spent),
            trajectory,
        )
        if seed is None:
            twin.rng.setstate(self.rng.getstate())
        if self._session is not None:
            twin._session = await self._session.fork()
        return twin

    async def close(self) -> None:
        """End the session; may be called twice."""
        if self._session is not None:
            await self._session.close()


class Tool(Protocol):
    """A tool in one episode. Stateless ones are shared by all episodes, and their `fork` returns themselves."""

    @property
    def spec(self) -> ToolSpec: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def ordered(self) -> bool:
        """True when calls change a state, so that those of one turn must come one after the other."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """The answer. Whoever calls sees to the limits; cancelling stops the tool. Raises ToolError for what the
        policy did wrong (arguments that do not fit, first of all); anything else is the tool's own failure."""
        ...

    async def fork(self) -> Tool:
        """The same tool in the same state. Raises SandboxError where that cannot be."""
        ...

    async def close(self) -> None:
        """Free what it holds; may be called twice."""
        ...


class Toolset(Protocol):
    """What an entry of `tools=` stands for: one tool, or all of a server's. Hashable and picklable."""

    async def open(self, services: Services) -> Sequence[Tool]:
        """Tools for a new episode. Raises ToolFailed when there are none to be had."""
        ...
