"""REINFORCE++'s normalisation: advantages compared over the batch's tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentgym.trainers.base import Scored


@dataclass(frozen=True)
class Whiten:
    """A becomes `(A - mean) / (std + eps)`, mean and population deviation over all sampled tokens of the batch, by
    the trajectories' weights (REINFORCE++, arXiv 2501.03262); without spread, 0.

    Comes after the step that sets advantages. REINFORCE++ with baseline: `group_relative` with std "none", then
    this.
    """

    eps: float = 1e-8

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        seen = [
            (scored.weight, token.advantage)
            for scored in batch
            if scored.weight
            for _, tokens in scored.by_token()
            for token in tokens
        ]
        total = math.fsum(count for count, _ in seen)
        mean = math.fsum(count * advantage for count, advantage in seen) / total if total else 0.0
        squares = math.fsum(count * (advantage - mean) ** 2 for count, advantage in seen)
        spread = len({advantage for _, advantage in seen}) > 1
        divisor = math.sqrt(squares / total) + self.eps if spread else math.inf
        for scored in batch:
            scored.advantage = (scored.advantage - mean) / divisor
            if scored.turn_advantages is not None:
                scored.turn_advantages = [(advantage - mean) / divisor for advantage in scored.turn_advantages]
            if scored.token_advantages is not None:
                scored.token_advantages = [(advantage - mean) / divisor for advantage in scored.token_advantages]
        return batch
