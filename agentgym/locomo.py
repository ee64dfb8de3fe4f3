"""How LoCoMo (arXiv 2402.17753) scores an answer about a long conversation, by the kind of the question.

Stems are Porter's. LoCoMo's code has NLTK's variant, which has exceptions of its own: of 68,880 pairs of its texts
263 score otherwise.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from functools import cache
from statistics import fmean
from typing import Any

from agentgym.errors import TaskError

REFUSALS = ("no information available", "not mentioned")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LITTLE = re.compile(r"\b(?:a|an|the|and)\b")


def score(answer: str, gold: str, category: int) -> float:
    """From 0 to 1: the F1 of stemmed words. Of multi-hop questions the mean over the gold answers, which commas
    part, each by the best of the given ones; of open-domain ones up to the gold's first semicolon. Adversarial
    questions have no answer in the conversation: 1 for saying so. Raises TaskError for another category."""
    match category:
        case 1:
            given = answer.split(",")
            return fmean(max(f1(one, right) for one in given) for right in gold.split(","))
        case 2 | 4:
            return f1(answer, gold)
        case 3:
            return f1(answer, gold.split(";")[0])
        case 5:
            return float(any(refusal in answer.lower() for refusal in REFUSALS))
    raise TaskError(f"LoCoMo's categories of questions are 1 to 5, not {category}")


def f1(answer: str, gold: str) -> float:
    """Of the stemmed words; 0 where they share none, as where either is empty."""
    said, right = (Counter(map(_stem, words(text))) for text in (answer, gold))
    shared = (said & right).total()
    return 2 * shared / (said.total() + right.total()) if shared else 0.0


def words(text: str) -> list[str]:
    """In lower case, without punctuation, articles and the word *and*."""
    return _LITTLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _stem(word: str) -> str:
    stem: str = _stemmer().stemWord(word)
    return stem


@cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("porter")
