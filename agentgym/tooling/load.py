"""What an entry of `tools=` stands for: a function, a class, an installed plugin, or a server's tools."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym import config
from agentgym.errors import AgentgymError, ConfigError, ToolFailed, did_you_mean
from agentgym.tool import MARK, Limits
from agentgym.tooling.function import FunctionTool, is_async
from agentgym.tooling.schema import read_signature
from agentgym.tooling.threads import Threads

if TYPE_CHECKING:
    from agentgym.config import Spec
    from agentgym.services import Services
    from agentgym.tool import Tool, Toolset, ToolSpec
    from agentgym.tooling.schema import Signature


def toolsets(specs: str | Sequence[Spec]) -> list[Toolset]:
    """A toolset for each entry; text may name several with commas between them. Raises ConfigError."""
    if isinstance(specs, str):
        specs = [name.strip() for name in specs.split(",") if name.strip()]
    if not specs:
        raise ConfigError(
            f"tools: none is named. Known: {', '.join(config.names('tool'))}, and files: FILE.py:name"
        )
    return [toolset(spec) for spec in specs]


def toolset(spec: Spec) -> Toolset:
    """The toolset of one entry, loaded once to see that it can be. Raises ConfigError."""
    fields = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"tool: a name is needed. Known: {', '.join(config.names('tool'))}")
    if name.partition(":")[0] == "mcp":
        from agentgym.mcp.toolset import mcp_toolset

        return mcp_toolset({"name": name, **fields})
    found = FunctionToolset(_absolute(name), json.dumps(fields, sort_keys=True, default=str))
    _load(found)
    return found


def _absolute(name: str) -> str:
    """The same file for a process that works elsewhere."""
    where, _, attribute = name.rpartition(":")
    return f"{Path(where).resolve()}:{attribute}" if where.endswith(".py") and Path(where).is_file() else name


@dataclass(frozen=True, slots=True)
class FunctionToolset:
    """One function or class. fields: the rest of its table as JSON, for this must be hashable and picklable."""

    name: str
    fields: str = "{}"

    @property
    def spec(self) -> ToolSpec:
        """What a policy is told of it, known before an episode begins."""
        return _load(self).first.spec

    async def open(self, services: Services) -> Sequence[Tool]:
        plan = _load(self)
        if plan.forks:
            return [plan.make()]
        shared = await services.get(_Shared(self))
        return [shared.tool]


@dataclass(frozen=True, slots=True)
class _Shared:
    """A tool without state: one serves all episodes of a run, and is closed with the run."""

    toolset: FunctionToolset

    async def open(self) -> _Open:
        return _Open(_load(self.toolset).make())


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    tool: FunctionTool

    async def close(self) -> None:
        await self.tool.end()


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """A tool before an episode begins. first: the one that was made to see that it can be; a class is made anew
    for each episode, from its own fields."""

    thing: Any
    own: Mapping[str, Any]
    first: FunctionTool

    @property
    def forks(self) -> bool:
        return self.first.forks

    def make(self) -> FunctionTool:
        if not isinstance(self.thing, type):
            return self.first
        return dataclasses.replace(self.first, target=_instance(self.thing, self.own, self.first.spec.name))


@functools.cache
def _load(toolset: FunctionToolset) -> _Plan:
    """Import what the toolset names, and see that it makes a tool."""
    thing = config.resolve("tool", toolset.name)
    name = _tool_name(thing, toolset.name)
    is_class = isinstance(thing, type)
    if is_class:
        _check_class(thing, name)
    own, overrides = _split(thing, json.loads(toolset.fields), name)
    target = _instance(thing, own, name) if is_class else thing
    signature = read_signature(target.__call__ if is_class else target, name, _docstring(thing))
    limits = _limits(target, overrides, name)
    forks = is_class and not getattr(thing, "stateless", False)
    ordered = bool(getattr(target, "ordered", forks))
    if limits.cache and (ordered or signature.context):
        raise ConfigError(f"tool {name!r}: cache is for tools without state, order and ToolContext only")
    first = FunctionTool(target, is_async(target), signature, limits, ordered, forks, Threads(name))
    return _Plan(thing, own, first)


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A tool that an environment made for one episode: an object of a class as above, one with `fork`."""

    target: Any
    name: str

    async def open(self, services: Services) -> Sequence[Tool]:
        target = self.target
        cls: Any = type(target)
        signature = _class_signature(cls, self.name)
        limits = _limits(target, {}, self.name)
        ordered = bool(getattr(target, "ordered", True))
        return [FunctionTool(target, is_async(target), signature, limits, ordered, True, Threads(self.name))]


@functools.cache
def _class_signature(thing: Any, name: str) -> Signature:
    return read_signature(types.MethodType(thing.__call__, object()), name, _docstring(thing))


def _instance(thing: type[Any], own: Mapping[str, Any], name: str) -> Any:
    try:
        return config.convert(thing, own, f"tool {name}") if dataclasses.is_dataclass(thing) else thing()
    except AgentgymError:
        raise
    except Exception as error:
        raise ToolFailed(f"tool {name!r} cannot be made: {type(error).__name__}: {error}") from error


def _limits(target: Any, overrides: Mapping[str, Any], name: str) -> Limits:
    """Those that a class works out from its fields in `limits`, or those of `@limits`, with a table's on top."""
    own = getattr(target, "limits", None)
    base = own if isinstance(own, Limits) else getattr(target, MARK, Limits())
    return config.convert(Limits, {**dataclasses.asdict(base), **overrides}, f"tool {name}")


def _tool_name(thing: Any, given: str) -> str:
    """A function's name; a class's in lower case, with underscores."""
    if isinstance(thing, type):
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", thing.__name__).lower()
    if not inspect.isroutine(thing):
        raise ConfigError(f"tool {given!r}: a {type(thing).__name__} is no tool; write a function, or a class")
    if not thing.__name__.isidentifier():
        raise ConfigError(f"tool {given!r}: {thing.__name__} has no name to call it by; write `def`")
    return thing.__name__


def _check_class(thing: type[Any], name: str) -> None:
    if not any("__call__" in vars(base) for base in thing.__mro__):
        raise ConfigError(f"tool {name!r}: class {thing.__name__} has no __call__; write what a call does there")
    if not getattr(thing, "stateless", False) and not hasattr(thing, "fork"):
        raise ConfigError(
            f"tool {name!r}: class {thing.__name__} has no fork; write `fork(self)`, which returns a second one "
            f"in the same state, or say `stateless = True` in the class if calls change nothing"
        )
    if not dataclasses.is_dataclass(thing):
        try:
            inspect.signature(thing).bind()
        except TypeError as error:
            raise ConfigError(
                f"tool {name!r}: class {thing.__name__} needs arguments ({error}); make it a dataclass whose "
                f"fields are its settings, with defaults"
            ) from error


def _split(thing: Any, fields: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that are a class's own, and those that are limits."""
    own = {f.name for f in dataclasses.fields(thing) if f.init} if dataclasses.is_dataclass(thing) else set()
    limits = {f.name for f in dataclasses.fields(Limits)}
    for key in fields:
        if key not in own | limits:
            raise ConfigError(f"tool {name}: unknown key {key!r}: {did_you_mean(key, own | limits)}")
    return (
        {key: value for key, value in fields.items() if key in own},
        {key: value for key, value in fields.items() if key not in own},
    )


def _docstring(thing: Any) -> str:
    """What `__call__` says, or else its class. What dataclasses write there themselves describes nothing."""
    texts = [thing.__call__.__doc__, thing.__doc__] if isinstance(thing, type) else [thing.__doc__]
    about = next((text for text in texts if text), "")
    return "" if about.startswith(f"{thing.__name__}(") else inspect.cleandoc(about)
