"""The search itself: a query's terms, their passages' scores added up, and the best of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import bm25s
import numpy as np

from agentgym.retriever import Hit, Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentgym.retrievers.analyzer import Analyzer

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets DEBUG itself, and then tells of every empty query


class Bm25Index:
    """Passages that can be searched by BM25. For one thread at a time."""

    def __init__(self, engine: bm25s.BM25, analyzer: Analyzer, passages: Sequence[Passage]) -> None:
        self._engine, self._analyzer, self.passages = engine, analyzer, passages

    def search(self, queries: list[str], k: int) -> list[list[Hit]]:
        """The best `k` of each query; of equal scores, the earlier passage."""
        return [self._hits(query, k) for query in queries]

    def _hits(self, query: str, k: int) -> list[Hit]:
        terms = self._engine.get_tokens_ids(self._analyzer.terms(query))
        if not terms:
            return []
        scores: NDArray[np.float32] = self._engine.get_scores_from_ids(terms)
        found = np.flatnonzero(scores)
        values = scores[found]
        if len(found) > k:
            enough = values >= np.partition(values, -k)[-k]
            found, values = found[enough], values[enough]
        order = np.argsort(-values, kind="stable")[:k]
        return [Hit(self.passages[int(found[i])], float(values[i])) for i in order]
