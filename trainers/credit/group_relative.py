"""Advantages relative to the other trajectories of the group, or of the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from agentgym.trainers.base import Scored, by_group

Scope = Literal["group", "batch", "none"]


@dataclass(frozen=True)
class GroupRelative:
    """`A = (reward - mean) / (std + eps)`, mean and std each over the group, over the batch, or left out.

    GRPO (arXiv 2402.03300): both "group". Dr. GRPO (arXiv 2503.20783): std "none". Lite PPO (arXiv 2508.08221):
    mean "group", std "batch". std is the sample deviation (n - 1), as in GRPO's released code. Without spread
    in std's scope (equal rewards, or one trajectory) nothing can be compared and A = 0. Where trajectories have
    weights w, the mean is the weighted one and n - 1 becomes sum w - sum w^2 / sum w.
    """

    mean: Scope = "group"
    std: Scope = "group"
    eps: float = 1e-6

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for group in by_group(batch):
            scopes = {"group": group, "batch": batch}
            mean = 0.0 if self.mean == "none" else _mean(scopes[self.mean])
            divisor = 1.0 if self.std == "none" else self._divisor(scopes[self.std])
            for scored in group:
                scored.advantage = (scored.reward - mean) / divisor if divisor else 0.0
        return batch

    def _divisor(self, scope: list[Scored]) -> float:
        """std + eps; 0 without spread."""
        spread = _deviation(scope)
        return spread + self.eps if spread else 0.0


def _mean(scope: list[Scored]) -> float:
    total = math.fsum(scored.weight for scored in scope)
    return math.fsum(scored.weight * scored.reward for scored in scope) / total if total else 0.0


def _deviation(scope: list[Scored]) -> float:
    """Sample deviation of the rewards, for weights that say how much each is to be relied on."""
    from statistics import stdev

    counted = [scored for scored in scope if scored.weight]
    rewards = [scored.reward for scored in counted]
    if len(set(rewards)) < 2:
        return 0.0
    if len({scored.weight for scored in counted}) == 1:
        return stdev(rewards)  # exact where the sums below would round
    total = math.fsum(scored.weight for scored in counted)
    freedom = total - math.fsum(scored.weight**2 for scored in counted) / total
    mean = _mean(counted)
    return math.sqrt(math.fsum(s.weight * (s.reward - mean) ** 2 for s in counted) / freedom)
