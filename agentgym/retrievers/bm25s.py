"""Retriever `bm25s`: BM25 with Lucene's formula and analysis, in this process, from an index on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bm25s:
    """The best passages by BM25. The defaults are Anserini's (and so pyserini's).

    k1, b: how much a word's repetitions count, and how much a passage's length. stemmer: an algorithm of Snowball,
    or `none`. stopwords: Lucene's 33 English ones, or `none`.
    """

    k1: float = 0.9
    b: float = 0.4
    stemmer: Literal["porter", "english", "none"] = "porter"
    stopwords: Literal["lucene", "none"] = "lucene"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k1) and self.k1 >= 0):
            raise ValueError(f"k1 must be at least 0, not {self.k1}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b must be from 0 to 1, not {self.b}")
