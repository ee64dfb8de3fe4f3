"""Search-R1's reward with a say for the form."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.trainers.base import Scored
from agentgym.trainers.credit.read_signal import read_signal


@dataclass(frozen=True)
class SearchR1Reward:
    """Adds to the reward, as Search-R1's version 0.3 does (arXiv 2503.09516): 1 for a right and 1 - `form` for a
    right but malformed answer; `form` for a wrong answer, or none, of a well-formed response, and `found` more
    where the results held the answer; for a malformed response `attempt` with a wrong answer, 0 with none.

    correct, well_formed, retrieved: the signals read; an episode has an answer where its last turn reports one as
    info["answer"]. The results held it where `retrieved` is 1; the published code looks for the answer's text.
    """

    form: float = 0.2
    found: float = 0.1
    attempt: float = 0.1
    correct: str = "success"
    well_formed: str = "tag_format"
    retrieved: str = "recall"

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            scored.reward += self._reward(scored)
        return batch

    def _reward(self, scored: Scored) -> float:
        well_formed = read_signal(scored, self.well_formed) > 0
        if read_signal(scored, self.correct) > 0:
            return 1.0 if well_formed else 1.0 - self.form
        if well_formed:
            return self.form + (self.found if read_signal(scored, self.retrieved) >= 1 else 0.0)
        answered = scored.turns[-1].info.get("answer") is not None
        return self.attempt if answered else 0.0
