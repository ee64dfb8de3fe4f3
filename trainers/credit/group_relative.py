"""Advantages relative to the other trajectories of the group, or of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentgym.trainers.base import Scored, by_group

Scope = Literal["group", "batch", "none"]


@dataclass(frozen=True)
class GroupRelative:
    """A = (reward - mean) / (std + eps), mean and std each over the group, over the batch, or left out.

    GRPO (arXiv 2402.03300): both "group". Dr. GRPO (arXiv 2503.20783): std "none". Lite PPO (arXiv 2508.08221):
    mean "group", std "batch". std is the sample deviation (n - 1), as in GRPO's released code. Without spread
    in std's scope (equal rewards, or one trajectory) nothing can be compared and A = 0.
    """

    mean: Scope = "group"
    std: Scope = "group"
    eps: float = 1e-6

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        from statistics import fmean

        everything = [scored.reward for scored in batch]
        for group in by_group(batch):
            scopes = {"group": [scored.reward for scored in group], "batch": everything}
            mean = 0.0 if self.mean == "none" else fmean(scopes[self.mean])
            divisor = 1.0 if self.std == "none" else self._divisor(scopes[self.std])
            for scored in group:
                scored.advantage = (scored.reward - mean) / divisor if divisor else 0.0
        return batch

    def _divisor(self, rewards: list[float]) -> float:
        """std + eps; 0 without spread."""
        from statistics import stdev

        spread = stdev(rewards) if len(rewards) > 1 else 0.0
        return spread + self.eps if spread else 0.0
