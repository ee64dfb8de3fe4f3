"""DAPO's soft punishment for responses close to the length limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentgym.trainers.base import Scored


@dataclass(frozen=True)
class Overlong:
    """Adds `clip((max_length - buffer - length) / buffer, -1, 0) * factor` to the reward (DAPO, arXiv 2503.14476).

    Lengths are in tokens. count: "policy" counts what the policy sampled; "all" also what the environment
    answered, all that follows the prompt.
    """

    max_length: int
    buffer: int
    factor: float = 1.0
    count: Literal["policy", "all"] = "policy"

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.max_length:
            raise ValueError(f"buffer must be in [1, max_length = {self.max_length}], not {self.buffer}")

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            over = self._length(scored) - (self.max_length - self.buffer)
            scored.reward -= self.factor * min(max(over / self.buffer, 0.0), 1.0)
        return batch

    def _length(self, scored: Scored) -> int:
        if self.count == "policy":
            return scored.length
        return scored.length + sum(len(turn.context) for turn in scored.turns[1:])
