"""How many different tools the policy called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.trainers.signals.tags import check_tags
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class ToolsUsed:
    """Signal "tools_used": how many of `call_tags` the policy opened and closed in a turn of its own.

    Reads what the policy wrote, never an observation."""

    call_tags: tuple[str, ...] = ("search", "python")

    def __post_init__(self) -> None:
        check_tags(self.call_tags)

    async def __call__(self, group: Group, services: Services) -> None:
        calls = [re.compile(f"<{tag}>.*?</{tag}>", re.DOTALL) for tag in set(self.call_tags)]
        for turns in valid_episodes(group):
            used = [call for call in calls if any(call.search(turn.text) for turn in turns)]
            turns[-1].signals["tools_used"] = float(len(used))
