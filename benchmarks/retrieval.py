"""How often does a retriever find what a question needs? Recall on real multi-hop and single-hop questions.

    python benchmarks/retrieval.py DIRECTORY [retriever=NAME] [key=value]...

DIRECTORY has `corpus_NAME.jsonl` and question files whose rows have `question` and `gold_doc_ids`. Recall at k is
the share of a question's gold passages among its best k hits, averaged over the questions.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from agentgym.config import build, parse_overrides
from agentgym.retriever import Retriever

SETS = {
    "hotpotqa": ("hotpotqa_dev200", "hotpotqa_train100"),
    "2wikimultihopqa": ("2wikimultihopqa_dev200",),
    "musique": ("musique_dev200", "musique_train100"),
    "xquad": ("xquad_en",),
}
"""Corpus -> files of its questions."""
CUTS = (1, 3, 5, 10)


class Recall(NamedTuple):
    """at: k -> recall. rate: queries a second, asked all at once."""

    questions: int
    at: dict[int, float]
    rate: float


def read_questions(directory: Path, corpus: str) -> list[dict[str, Any]]:
    """The questions of a corpus that have gold passages."""
    files = [directory / f"{name}.jsonl" for name in SETS[corpus]]
    rows = [json.loads(line) for file in files for line in file.open(encoding="utf-8")]
    return [row for row in rows if row["gold_doc_ids"]]


async def recall(retriever: Retriever, questions: Sequence[dict[str, Any]]) -> Recall:
    """Of the gold passages of `questions`."""
    started = time.perf_counter()
    found = await retriever.search([row["question"] for row in questions], max(CUTS))
    seconds = time.perf_counter() - started
    at = {}
    for k in CUTS:
        shares = []
        for row, hits in zip(questions, found, strict=True):
            gold = set(row["gold_doc_ids"])
            shares.append(len(gold & {hit.passage.id for hit in hits[:k]}) / len(gold))
        at[k] = sum(shares) / len(shares)
    return Recall(len(questions), at, len(questions) / seconds)


async def main(directory: Path, words: list[str]) -> None:
    settings = parse_overrides(words)
    spec = {"name": settings.pop("retriever", "bm25s"), **settings}
    table = Table(title=f"recall of {spec['name']}")
    for column in ("corpus", "questions", *(f"@{k}" for k in CUTS), "queries/s"):
        table.add_column(column, justify="left" if column == "corpus" else "right")
    for corpus in SETS:
        config = build("retriever", {**spec, "corpus": str(directory / f"corpus_{corpus}.jsonl")})
        retriever = await config.open()
        try:
            result = await recall(retriever, read_questions(directory, corpus))
        finally:
            await retriever.close()
        shares = (f"{share:.3f}" for share in result.at.values())
        table.add_row(corpus, str(result.questions), *shares, f"{result.rate:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
