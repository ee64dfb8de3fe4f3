"""Passages whose words are as frequent as those of a language without its stop words, always the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WORDS, LENGTH, TERMS = 200_000, 60, 6
"""Of the vocabulary, a passage and a query."""
_RANKS = 30  # of the most frequent words, which are left out
_QUERIES = 4096
_CHUNK = 50_000


def write_corpus(folder: Path, passages: int) -> tuple[Path, Path]:
    """Files of passages and of queries; a query's words are of one passage."""
    corpus, queries = folder / "corpus.jsonl", folder / "queries.json"
    rng = np.random.default_rng(0)
    chances = 1 / (np.arange(WORDS) + _RANKS)
    edges = np.cumsum(chances / chances.sum())
    names = np.array(_names(rng))
    asked: list[str] = []
    with corpus.open("w", encoding="utf-8") as file:
        for first in range(0, passages, _CHUNK):
            rows = names[
                np.minimum(np.searchsorted(edges, rng.random((min(_CHUNK, passages - first), LENGTH))), WORDS - 1)
            ]
            for number, row in enumerate(rows, first):
                file.write(
                    json.dumps({"id": str(number), "title": " ".join(row[:2]), "text": " ".join(row)}) + "\n"
                )
            picked = rng.choice(len(rows), min(_QUERIES, len(rows)), replace=False)
            asked += [" ".join(rng.choice(rows[i], TERMS, replace=False)) for i in picked]
    kept = rng.choice(len(asked), min(_QUERIES, len(asked)), replace=False)
    queries.write_text(json.dumps([asked[i] for i in kept]))
    return corpus, queries


def _names(rng: np.random.Generator) -> list[str]:
    """Different words of consonants and vowels, which stemmers have little to take from."""
    found: dict[str, None] = {}
    while len(found) < WORDS:
        letters = np.where(
            np.arange(8) % 2, rng.choice(list("aiou"), (WORDS, 8)), rng.choice(list("bdfgkmnprtvz"), (WORDS, 8))
        )
        for row, length in zip(letters, rng.integers(4, 9, WORDS), strict=True):
            found["".join(row[:length])] = None
    return list(found)[:WORDS]
