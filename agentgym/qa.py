"""How much of a short answer is right, by its words: what question-answering sets report."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from agentgym.types import Task

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_VERDICTS = (["yes"], ["no"], ["noanswer"])
_OTHERS = ("answers", "answer_aliases", "golden_answers")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def words(text: str) -> list[str]:
    """In lower case, without punctuation and articles, as SQuAD (arXiv 1606.05250) does; but articles stay where
    nothing else is left, so that "the" is no right answer to "A"."""
    plain = text.lower().translate(_PUNCTUATION)
    return _ARTICLE.sub(" ", plain).split() or plain.split()


def exact_match(answer: str, golds: Iterable[str]) -> bool:
    """Whether the answer's words are those of one of the right answers."""
    said = words(answer)
    return any(words(gold) == said for gold in golds)


def f1(answer: str, golds: Iterable[str]) -> float:
    """The F1 of the answer's words and the right answer's, the best over the right answers.

    1 or 0 for equal or not where either has no words left, as in SQuAD 2, or says just yes or no, as in HotpotQA
    (arXiv 1809.09600) and 2WikiMultihopQA.
    """
    said = words(answer)
    return max((_f1(words(gold), said) for gold in golds), default=0.0)


def _f1(gold: list[str], said: list[str]) -> float:
    if not gold or not said or gold in _VERDICTS or said in _VERDICTS:
        return float(gold == said)
    return 2 * (Counter(gold) & Counter(said)).total() / (len(gold) + len(said))


def right_answers(task: Task) -> list[str]:
    """The task's answer and others that are as right: info.answers, info.answer_aliases, info.golden_answers. Only
    "noanswer" where info.answerable is false."""
    if task.info.get("answerable") is False:
        return ["noanswer"]
    return [task.answer, *(text for name in _OTHERS for text in texts(task.info.get(name)))]


def texts(value: Any) -> list[str]:
    """What rows write where one text or several may stand: a text, a list, SQuAD's `{"text": [...]}`, nothing."""
    if isinstance(value, Mapping):
        value = value.get("text")
    if value is None:
        return []
    return [str(text) for text in value] if isinstance(value, list | tuple) else [str(value)]
