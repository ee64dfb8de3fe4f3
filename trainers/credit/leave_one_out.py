"""The REINFORCE leave-one-out baseline."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.trainers.base import Scored, by_group


@dataclass(frozen=True)
class LeaveOneOut:
    """A = reward - mean reward of the group's other trajectories (RLOO, arXiv 2402.14740); alone: A = 0."""

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for group in by_group(batch):
            total, others = sum(scored.reward for scored in group), len(group) - 1
            for scored in group:
                baseline = (total - scored.reward) / others if others else scored.reward
                scored.advantage = scored.reward - baseline
        return batch
