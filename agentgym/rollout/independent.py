"""Independent rollouts: a group is G one-branch trees (GRPO, arXiv 2402.03300)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agentgym.rollout.walk import Walk
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.rollout.manager import Manager


@dataclass(frozen=True, slots=True)
class Independent:
    """Every trajectory starts from the prompt; none waits for another.

    budget: `trajectories` plays as many as the group's size. `tokens` plays until the group has sampled about
    `tokens` tokens, for comparing with rollouts that branch: first one, and then as many at once as should fit in
    what is left.
    """

    budget: Literal["trajectories", "tokens"] = "trajectories"
    tokens: int = 0

    def __post_init__(self) -> None:
        if (self.budget == "tokens") != (self.tokens > 0):
            raise ValueError(f"tokens is for budget=tokens, and above 0 there; not {self.tokens} ({self.budget})")

    async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
        import asyncio

        plays: list[Walk] = []
        wanted = 1 if self.budget == "tokens" else group_size
        while wanted:
            async with asyncio.TaskGroup() as tasks:
                new = [
                    tasks.create_task(manager.play(group, seed=hash((seed, i)), name=f"{group.id}/{i}"))
                    for i in range(len(plays), len(plays) + wanted)
                ]
            plays += [task.result() for task in new]  # by index, so that nothing depends on who finished first
            wanted = self._fitting(plays) if self.budget == "tokens" else 0
        for play in plays:
            play.commit()

    def _fitting(self, plays: list[Walk]) -> int:
        """How many more of the average length fit in the budget, to the nearest."""
        sampled = sum(len(turn.action) for play in plays for turn in play.turns)
        return max(0, round((self.tokens - sampled) * len(plays) / max(sampled, 1)))
