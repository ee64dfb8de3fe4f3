"""How much of what the task needs was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.types import Group, Turn

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class Recall:
    """Signal "recall": the share of the task's gold passages that the policy was shown, as the environment last
    reported it in info["recall"]; 0 where it never did, as for a task that names none (Med-R3, arXiv
    2507.23541)."""

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            turns[-1].signals["recall"] = sum(recall_gains(turns))


def recall_gains(turns: list[Turn]) -> Iterator[float]:
    """For each turn, how much its results added to the recall."""
    before = 0.0
    for turn in turns:
        now = float(turn.info.get("recall", before))
        yield now - before
        before = now
