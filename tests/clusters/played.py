"""Groups of the environment that dies: how its policy is set up, what is asked of it, what must come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentgym.run import resolve_settings
from agentgym.types import Group, Outcome, Task

SIZE = 3
ENV = f"{Path(__file__).parent / 'deadly.py'}:Deadly"


def settings(**more: Any) -> Any:
    return resolve_settings({"env": ENV, "device": "cpu", "max_completion_tokens": "64", **more}, [])


def tasks(count: int, **info: dict[str, Any]) -> list[tuple[str, Task]]:
    """Named groups; info: of some, by name."""
    names = [f"g{i}" for i in range(count)]
    return [(name, Task(name, f"What is {name}?", "", info.get(name, {}))) for name in names]


def whole(groups: list[Group], count: int) -> None:
    """Each group is there once, in its place, with all of its episodes played to their end."""
    assert [group.id for group in groups] == [f"g{i}" for i in range(count)]
    for group in groups:
        assert [group.outcome(leaf) for leaf in group.leaves()] == [Outcome.DONE] * SIZE
        assert group.returns() == [2.0] * SIZE
