"""Gymnasium's spaces as text, both ways. Imports gymnasium, and so is imported late."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from agentgym.errors import ConfigError
from agentgym.protocols.safe_json import read_json

MOST = 64
"""Numbers in an observation or action."""
ARRAYS = (MultiDiscrete, MultiBinary, Box)


def check(id: str, observations: Space[Any], actions: Space[Any], names: tuple[str, ...]) -> None:
    """Raises ConfigError for what cannot be written, and for names that do not fit."""
    if not _writable(observations):
        raise ConfigError(f"{id}: its observations, {observations}, cannot be written as text")
    if not (isinstance(actions, (Text, Discrete)) or (isinstance(actions, ARRAYS) and _writable(actions))):
        raise ConfigError(f"{id}: its actions, {actions}, cannot be written as text")
    if names and not (isinstance(actions, Discrete) and len(names) == actions.n):
        raise ConfigError(f"{id}: {len(names)} names of actions are given for {actions}")


def _writable(space: Space[Any]) -> bool:
    if isinstance(space, Dict):
        return all(_writable(part) for part in space.spaces.values())
    if isinstance(space, Tuple):
        return all(_writable(part) for part in space.spaces)
    if isinstance(space, ARRAYS):
        return int(np.prod(space.shape)) <= MOST
    return isinstance(space, (Text, Discrete))


def show(space: Space[Any], value: Any) -> str:
    """An observation for the policy."""
    return str(value) if isinstance(space, Text) else json.dumps(_plain(space, value), ensure_ascii=False)


def _plain(space: Space[Any], value: Any) -> Any:
    if isinstance(space, Dict):
        return {name: _plain(part, value[name]) for name, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return [_plain(part, item) for part, item in zip(space.spaces, value, strict=True)]
    if isinstance(space, ARRAYS):
        return np.asarray(value).tolist()
    return int(value) if isinstance(space, Discrete) else str(value)


def how(space: Space[Any], names: tuple[str, ...]) -> str:
    """Tells the policy how to act."""
    if isinstance(space, Text):
        return "Act by writing <action>text</action>."
    if isinstance(space, Discrete):
        choices = names or [str(space.start + i) for i in range(space.n)] if space.n <= MOST else ()
        among = f"one of {', '.join(choices)}" if choices else f"from {space.start} to {space.start + space.n - 1}"
        return f"Act by writing <action>choice</action>, where the choice is {among}."
    return f"Act by writing <action>[...]</action>, a JSON list for {space}."


def read(space: Space[Any], text: str, names: tuple[str, ...]) -> Any:
    """The action that a policy wrote; raises ValueError."""
    if names:
        if text not in names:
            raise ValueError(f"{text!r} is not known")
        return int(space.start) + names.index(text)  # type: ignore[attr-defined]  # names are a Discrete's
    if isinstance(space, Text):
        value: Any = text
    elif isinstance(space, Discrete):
        value = int(text)
    else:
        try:
            value = np.asarray(read_json(text), dtype=space.dtype)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{text[:80]!r} is no JSON list for {space}") from error
    if not space.contains(value):
        raise ValueError(f"{text!r} is not in {space}")
    return value
