"""UR2's rewards: first for calling, then for answering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentgym.trainers.base import Scored
from agentgym.trainers.credit.read_signal import read_signal


@dataclass(frozen=True)
class Ur2Reward:
    """Adds the reward of one of UR2's stages (arXiv 2508.06165). Tasks with info["level"] "easy" need no call; a
    call there is a violation, and so is a malformed response anywhere.

    stage: 1, for calling; the answer does not count: 1 without violations. On any task but an easy one a
    violation, and having made no call, costs 1 each, and calls earn `one_call` or `more_calls`.
    stage 2, for answering: 2 * score, and 1 without violations.
    In both a correction by the environment costs `fallback`, but for easy tasks, where each call costs
    `easy_call`.

    well_formed, score, calls, fallbacks: the signals read. one_call, more_calls are for the beginning of stage
    1: set them to 0 once calls are made; then having made none costs nothing either. The published code has no
    `easy_call`.
    """

    stage: Literal[1, 2]
    one_call: float = 3.0
    more_calls: float = 4.0
    fallback: float = 0.5
    easy_call: float = 0.0
    well_formed: str = "tag_format"
    score: str = "answer_f1"
    calls: str = "tool_calls"
    fallbacks: str = "malformed_calls"

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            easy = scored.group.task.info.get("level") == "easy"
            scored.reward += self._easy(scored) if easy else self._hard(scored)
            if self.stage == 2:
                scored.reward += 2 * read_signal(scored, self.score)
        return batch

    def _easy(self, scored: Scored) -> float:
        calls, well_formed = read_signal(scored, self.calls), read_signal(scored, self.well_formed) > 0
        return (1.0 if well_formed and not calls else 0.0) - self.easy_call * calls

    def _hard(self, scored: Scored) -> float:
        calls, violations = read_signal(scored, self.calls), int(read_signal(scored, self.well_formed) <= 0)
        reward = -self.fallback * read_signal(scored, self.fallbacks)
        if self.stage == 1:
            violations += not calls and self.one_call > 0
            reward += 0.0 if not calls else self.one_call if calls == 1 else self.more_calls
        if violations:
            return reward - (violations if self.stage == 1 else 0)
        return reward + 1.0
