"""How much of the right answer the policy's has in it."""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import dataclass

from agentgym.boxed import last_boxed
from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.types import Group, Turn

_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class AnswerF1:
    r"""Signal "answer_f1": the F1 of the answer's words and the task's, as SQuAD (arXiv 1606.05250) computes it.

    The answer is what the environment reports of the last turn as info["answer"], else that turn's last \boxed{};
    without one: 0. Reads what the policy wrote, never an observation.
    """

    async def __call__(self, group: Group) -> None:
        gold = _words(group.task.answer)
        for turns in valid_episodes(group):
            turns[-1].signals["answer_f1"] = _f1(gold, _words(_answer(turns[-1])))


def _answer(turn: Turn) -> str:
    answer = turn.info["answer"] if "answer" in turn.info else last_boxed(turn.text)
    return "" if answer is None else str(answer)


def _words(text: str) -> list[str]:
    """In lower case, without punctuation, and without articles where anything else is left (not in "A")."""
    plain = text.lower().translate(_PUNCTUATION)
    return re.sub(r"\b(?:a|an|the)\b", " ", plain).split() or plain.split()


def _f1(gold: list[str], said: list[str]) -> float:
    shared = (Counter(gold) & Counter(said)).total()
    return 2 * shared / (len(gold) + len(said)) if shared else 0.0
