"""Whether the episode's goal was reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.trainers.signals.episodes import reported, valid_episodes
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class Success:
    """Signal "success": 1 or 0, from the environment's info["success"]."""

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            turns[-1].signals["success"] = float(reported(group, turns, "success") > 0)
