"""How often the policy called a tool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.trainers.signals.episodes import reported, valid_episodes
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class ToolCalls:
    """Signal "tool_calls": the environment's own count so far, info["tool_calls"]."""

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            turns[-1].signals["tool_calls"] = reported(group, turns, "tool_calls")
