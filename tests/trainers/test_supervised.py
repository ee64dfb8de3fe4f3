"""Which trajectories of a search are learned from."""

from __future__ import annotations

from collections.abc import Callable

from agentgym.config import build
from agentgym.trainers.base import Scored
from agentgym.types import Group


def test_only_what_a_search_left_out_is_left_out(group: Group, episode: Callable[..., Scored]) -> None:
    batch = [episode(group, info=info) for info in ({"supervised": True}, {"supervised": False}, {})]
    batch[0].weight = 0.5
    assert [scored.weight for scored in build("credit", "supervised")(batch)] == [0.5, 0.0, 1.0]
