"""What the environment paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class EnvReturn:
    """Signal "return": the sum of rewards along the trajectory."""

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            turns[-1].signals["return"] = sum(turn.reward for turn in turns)
