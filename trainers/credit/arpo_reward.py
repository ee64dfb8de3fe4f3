"""ARPO's reward: the form first, then the answer, then the tools."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.ranges import at_least
from agentgym.trainers.base import Scored
from agentgym.trainers.credit.read_signal import read_signal


@dataclass(frozen=True)
class ArpoReward:
    """Adds -1 to the reward of a malformed response; to that of any other the score, and `bonus` more where the
    score is positive and at least `tools` different tools were used (ARPO, arXiv 2507.19849).

    well_formed, score, used: the signals read. Where an answer is right or wrong, score is "success".
    """

    well_formed: str = "tag_format"
    score: str = "answer_f1"
    used: str = "tools_used"
    tools: int = 2
    bonus: float = 0.1

    def __post_init__(self) -> None:
        at_least(self, 1, "tools")

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            well_formed = read_signal(scored, self.well_formed)
            score, used = read_signal(scored, self.score), read_signal(scored, self.used)
            earned = self.bonus if score > 0 and used >= self.tools else 0.0
            scored.reward += score + earned if well_formed else -1.0
        return batch
