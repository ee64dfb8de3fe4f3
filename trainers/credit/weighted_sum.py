"""Rewards as a weighted sum of signals."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.errors import ConfigError
from agentgym.trainers.base import Scored
from agentgym.trainers.credit.read_signal import read_signal


@dataclass(frozen=True)
class WeightedSum:
    """Adds `sum_k weights[k] * signals[k]` to the reward.

    Raises ConfigError when a signal was not computed.
    """

    weights: dict[str, float]

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError("weights is empty; give at least one signal's, for example { return = 1.0 }")

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            scored.reward += sum(weight * read_signal(scored, name) for name, weight in self.weights.items())
        return batch
