"""How much of the right answer the policy's has in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym import qa
from agentgym.trainers.signals.episodes import answer_of, valid_episodes
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class AnswerF1:
    r"""Signal "answer_f1": the F1 of the answer's words and the right answer's, see agentgym.qa; the best of them.

    The answer is what the environment reports of the last turn as info["answer"], else that turn's last \boxed{};
    without one: 0. Reads what the policy wrote, never an observation.
    """

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            turns[-1].signals["answer_f1"] = qa.f1(answer_of(turns[-1]) or "", qa.right_answers(group.task))
