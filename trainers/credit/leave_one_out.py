"""The REINFORCE leave-one-out baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentgym.trainers.base import Scored, by_group


@dataclass(frozen=True)
class LeaveOneOut:
    """A = reward - mean reward of the group's other trajectories (RLOO, arXiv 2402.14740), by their weights; where
    none of the others counts, A = 0."""

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for group in by_group(batch):
            for scored in group:
                others = [other for other in group if other is not scored]
                weight = math.fsum(other.weight for other in others)
                total = math.fsum(other.weight * other.reward for other in others)
                scored.advantage = scored.reward - total / weight if weight else 0.0
        return batch
