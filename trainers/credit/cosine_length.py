"""open-rs's reward: short when right, long when wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentgym.ranges import at_least
from agentgym.trainers.base import Scored
from agentgym.trainers.credit.read_signal import read_signal


@dataclass(frozen=True)
class CosineLength:
    """Adds `scale` times a cosine of the length to the reward (open-rs, arXiv 2503.16219).

    With c = (1 + cos(pi * min(length / max_length, 1))) / 2, which falls from 1 to 0: a right answer gets
    0.5 + 0.5c (shorter is better), a wrong one -0.5 - 0.5c (longer is less bad). Lengths are tokens the policy
    sampled; an answer is right when the signal `correct` is positive.
    """

    max_length: int
    scale: float = 1.0
    correct: str = "success"

    def __post_init__(self) -> None:
        at_least(self, 1, "max_length")

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            cosine = (1 + math.cos(math.pi * min(scored.length / self.max_length, 1.0))) / 2
            sign = 1 if read_signal(scored, self.correct) > 0 else -1
            scored.reward += self.scale * sign * (0.5 + 0.5 * cosine)
        return batch
