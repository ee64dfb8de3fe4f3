"""Independent rollouts: a group is G one-branch trees (GRPO, arXiv 2402.03300)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.rollout.manager import Manager


@dataclass(frozen=True, slots=True)
class Independent:
    """Every trajectory starts from the prompt; none waits for another."""

    async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
        import asyncio

        async with asyncio.TaskGroup() as tasks:
            plays = [
                tasks.create_task(manager.play(group, seed=hash((seed, i)), name=f"{group.id}/{i}"))
                for i in range(group_size)
            ]
        for play in plays:  # by index, so that the group does not depend on who finished first
            play.result().commit()
