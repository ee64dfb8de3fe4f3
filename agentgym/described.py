"""What a component is and what it takes, read from its class: `agentgym list loss ppo_clip`. Settings likewise."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator
from typing import Any

from agentgym import config
from agentgym.errors import AgentgymError
from agentgym.models.load import Lora
from agentgym.recipes import recipe_file
from agentgym.trainers.settings import Settings, Stage


def about(kind: str, name: str) -> str:
    """What it is, in a line; why it cannot be had, where an installed one is broken. kind: also `recipe`."""
    if kind == "recipe":
        return str(config.read_toml(recipe_file(name), kind)["description"])
    try:
        return _first_sentence(config.resolve(kind, name))
    except AgentgymError as error:
        return f"FAIL: {error}"


def described(kind: str, name: str) -> str:
    """All of what it says of itself, and its fields with their defaults. Raises ConfigError for an unknown one."""
    if kind == "recipe":
        return recipe_file(name).read_text(encoding="utf-8").rstrip()
    if kind == "tool":
        return _tool(name)
    return _whole(name, config.resolve(kind, name))


def _tool(name: str) -> str:
    """What can be set, where it is a dataclass, and what a policy is told of it."""
    from agentgym.tooling.load import FunctionToolset, toolset

    found = toolset(name)
    if not isinstance(found, FunctionToolset):
        return f"{name}\n\nA server's tools."
    component = config.resolve("tool", name)
    fields = isinstance(component, type) and dataclasses.is_dataclass(component)
    head = _whole(name, component) if fields else name
    return f"{head}\n\n{json.dumps(found.spec.function()['function'], indent=2, ensure_ascii=False)}"


def settings() -> str:
    """All that a run can be told."""
    parts = [("settings", Settings), ("stages, each of them", Stage), ("lora", Lora)]
    return "\n\n".join(_whole(name, cls) for name, cls in parts)


def _whole(name: str, cls: type[Any]) -> str:
    fields = "\n".join(_field(each) for each in dataclasses.fields(cls) if each.init)
    return "\n\n".join([name, *map(inspect.cleandoc, docstrings(cls)), *([fields] if fields else [])])


def _first_sentence(component: Any) -> str:
    text = " ".join(inspect.cleandoc(component.__doc__ or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].removesuffix(".")


def docstrings(component: type[Any]) -> Iterator[str]:
    """Its own and those of the classes that it has fields from."""
    for cls in component.__mro__:
        if dataclasses.is_dataclass(cls) and cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}("):
            yield cls.__doc__ if cls is component else f"{cls.__name__}: {inspect.cleandoc(cls.__doc__)}"


def _field(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        default = f" = {field.default!r}"
    elif field.default_factory is not dataclasses.MISSING:
        default = f" = {field.default_factory()!r}"
    else:
        default = ", to be given"
    return f"  {field.name}: {field.type}{default}"
