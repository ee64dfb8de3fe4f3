"""Independent rollouts, as many as asked for or as many as a budget of tokens buys."""

from __future__ import annotations

from typing import Any

import pytest

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Group, Task

from .scripted import LENGTH, Script, Turns


async def play(chat: Any, rollout: Any, env: Any, size: int, **guard: Any) -> Group:
    async with Services() as services:
        manager = Manager(env, Script(), chat, services, Limits(10**6), Guard(max_error_frac=0.0, **guard))
        [group] = await manager.run(rollout, [("s1-0", Task("t", "Go", ""))], 0, size)
    return group


async def test_as_many_as_the_group_has(chat: Any) -> None:
    group = await play(chat, Independent(), Turns(3), 5)
    assert [turn.parent is None for turn in group.turns] == [True, False, False] * 5


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("trajectories", "size"), [(1.4, 8), (4.6, 8), (20.0, 4)])
async def test_as_many_as_the_budget_buys(chat: Any, trajectories: float, size: int, deterministic: bool) -> None:
    """To the nearest, whatever the group's size says."""
    tokens = round(trajectories * 3 * LENGTH)
    rollout = Independent(budget="tokens", tokens=tokens)
    group = await play(chat, rollout, Turns(3), size, deterministic=deterministic)
    assert len(group.leaves()) == round(trajectories)


async def test_as_many_as_the_budget_buys_when_they_differ(chat: Any) -> None:
    rollout = Independent(budget="tokens", tokens=50 * LENGTH)
    group = await play(chat, rollout, Turns(random_turns=5), 8)
    assert sum(len(turn.action) for turn in group.turns) == pytest.approx(50 * LENGTH, abs=5 * LENGTH)


@pytest.mark.parametrize("fields", [{"budget": "tokens"}, {"tokens": 100}])
def test_a_budget_needs_its_number(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tokens is for budget=tokens"):
        build("rollout", {"name": "independent", **fields})
