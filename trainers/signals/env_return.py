"""What the environment paid."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.types import Group


@dataclass(frozen=True)
class EnvReturn:
    """Signal "return": the sum of rewards along the trajectory."""

    async def __call__(self, group: Group) -> None:
        for turns in valid_episodes(group):
            turns[-1].signals["return"] = sum(turn.reward for turn in turns)
