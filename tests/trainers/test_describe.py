"""What a step's metrics say of the episodes."""

from __future__ import annotations

import pytest

from agentgym.trainers.base import Scored
from agentgym.trainers.describe import describe
from agentgym.types import Group, Outcome, Task, Tokens, Turn


def played(*infos: dict[str, int]) -> tuple[list[Group], list[Scored]]:
    """A group with an episode for each."""
    group = Group("g", Task("t", "p", "a"))
    for info in infos:
        group.turns.append(Turn(None, Tokens((0,)), Tokens((1,)), outcome=Outcome.DONE, info=dict(info)))
    return [group], [Scored(group, leaf, 1.0) for leaf in group.leaves()]


def test_malformed_calls_are_a_mean_over_episodes_and_silent_while_there_are_none() -> None:
    seen = describe(*played({"tool_calls": 3, "malformed_calls": 2}, {"tool_calls": 1}))
    assert (seen["tool_calls"], seen["malformed_calls"]) == (pytest.approx(2), pytest.approx(1))
    assert "malformed_calls" not in describe(*played({"tool_calls": 3}, {"tool_calls": 1}))
