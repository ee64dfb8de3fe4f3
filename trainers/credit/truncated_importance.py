"""Truncated importance sampling: what was sampled under other weights than those that learn counts for less."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from agentgym.ranges import above
from agentgym.trainers.base import Scored


@dataclass(frozen=True)
class TruncatedImportance:
    """The advantage of each token is multiplied by `min(p / q, cap)`, where q is the probability that it was
    sampled with and p that under the weights which the update begins with (truncated weights: IMPALA, arXiv
    1802.01561; beside a proximal policy of its own: arXiv 2110.00641, AReaL, arXiv 2505.24298). The clipping of
    the losses is then around p. For rollouts that are older than the weights (max_staleness), and for engines
    whose numbers differ from the learner's.

    bound: tokens with p / q above it, or below 1 / bound, are not learned from; None: all are. Comes after the
    steps that set advantages.
    """

    cap: float = 2.0
    bound: float | None = None
    needs_proximal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        above(self, 0, "cap")
        above(self, 1, "bound")

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            tokens = [token for _, learned in scored.by_token() for token in learned]
            weights = [self._weight(log_ratio) for log_ratio in scored.drift()]
            scored.token_advantages = [t.advantage * w for t, w in zip(tokens, weights, strict=True)]
        return batch

    def _weight(self, log_ratio: float) -> float:
        if self.bound is not None and abs(log_ratio) > math.log(self.bound):
            return 0.0
        return math.exp(min(log_ratio, math.log(self.cap)))
