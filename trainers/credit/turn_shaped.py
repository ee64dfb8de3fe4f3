"""The outcome reward of verl's ReTool recipe, with some credit for using tools when wrong."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.trainers.base import Scored
from agentgym.trainers.credit.read_signal import read_signal


@dataclass(frozen=True)
class TurnShaped:
    """Adds 1 to the reward of a right answer, min(-0.6, -1 + 0.1 * (num_turns - 2) / 2) to that of a wrong one.

    num_turns counts messages: the prompt, every turn of the policy and every answer to it but the last, so
    each further turn of the policy is worth 0.1. From verl's ReTool recipe; GRPO-TCR (arXiv 2510.11701) uses
    it too. An answer is right when the signal `correct` is positive.
    """

    correct: str = "success"

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            num_turns = 2 * len(scored.turns)
            wrong = min(-0.6, -1 + 0.1 * (num_turns - 2) / 2)
            scored.reward += 1.0 if read_signal(scored, self.correct) > 0 else wrong
        return batch
