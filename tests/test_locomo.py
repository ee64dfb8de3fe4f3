"""LoCoMo's scores, by hand, and against its formula written out once more."""

from __future__ import annotations

import json
import random
import re
import string
from collections import Counter
from pathlib import Path

import pytest

from agentgym import locomo
from agentgym.errors import TaskError


@pytest.mark.parametrize(
    ("answer", "gold", "category", "score"),
    [
        ("Adoption agencies", "adoption agency", 4, 1.0),  # stems: adopt, agenc
        ("The park, and a lake", "park lake", 2, 1.0),
        ("in May", "May 2023", 2, 2 * 1 / (2 + 2)),
        ("tea", "coffee", 4, 0.0),
        ("", "coffee", 4, 0.0),
        ("pottery, camping", "camping, swimming, pottery", 1, 2 / 3),
        ("camping swimming", "camping, swimming", 1, (2 / 3 + 2 / 3) / 2),
        ("Likely no", "Likely no; she would not", 3, 1.0),
        ("Likely no", "Likely no; she would not", 4, 2 * 2 / (2 + 5)),
        ("It is Not Mentioned here", "anything", 5, 1.0),
        ("No information available.", "anything", 5, 1.0),
        ("a necklace", "a necklace", 5, 0.0),
    ],
)
def test_by_hand(answer: str, gold: str, category: int, score: float) -> None:
    assert locomo.score(answer, gold, category) == pytest.approx(score)


def test_other_categories_are_refused() -> None:
    with pytest.raises(TaskError, match="1 to 5, not 0"):
        locomo.score("a", "a", 0)


def test_real_answers_score_as_the_formula_says(data: Path) -> None:
    import Stemmer

    stem = Stemmer.Stemmer("porter").stemWord

    def tokens(text: str) -> list[str]:
        plain = "".join(c for c in text.replace(",", "").lower() if c not in string.punctuation)
        return [stem(word) for word in re.sub(r"\b(a|an|the|and)\b", " ", plain).split()]

    def f1(said: str, gold: str) -> float:
        same = sum((Counter(tokens(said)) & Counter(tokens(gold))).values())
        if not same:
            return 0.0
        precision, recall = same / len(tokens(said)), same / len(tokens(gold))
        return 2 * precision * recall / (precision + recall)

    file = data / "memory" / "locomo10_qa.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rng = random.Random(0)
    for row in rows:
        said, gold = rng.choice([row, *rng.sample(rows, 3)])["answer"], row["answer"]
        match row["category"]:
            case 1:
                golds = [part.strip() for part in gold.split(",")]
                wanted = sum(max(f1(a.strip(), g) for a in said.split(",")) for g in golds) / len(golds)
            case 3:
                wanted = f1(said, gold.split(";")[0].strip())
            case 5:
                wanted = float("not mentioned" in said.lower() or "no information available" in said.lower())
            case _:
                wanted = f1(said, gold)
        assert locomo.score(said, gold, row["category"]) == pytest.approx(wanted), (said, gold)
