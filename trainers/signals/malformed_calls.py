"""How often the environment had to correct the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class MalformedCalls:
    """Signal "malformed_calls": the environment's own count so far, info["malformed_calls"]; 0 without one."""

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            counts = [float(turn.info["malformed_calls"]) for turn in turns if "malformed_calls" in turn.info]
            turns[-1].signals["malformed_calls"] = counts[-1] if counts else 0.0
