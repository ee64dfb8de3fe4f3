"""The search itself: a query's terms, their passages' scores added up, and the best of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import bm25s
import numpy as np

from agentgym.errors import ConfigError
from agentgym.retriever import Hit, Passage
from agentgym.retrievers.analyzer import analyzer
from agentgym.retrievers.manifest import REMEDY
from agentgym.retrievers.passages import StoredPassages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentgym.retrievers.analyzer import Analyzer
    from agentgym.retrievers.bm25s import Bm25s

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets DEBUG itself, and then tells of every empty query


class Bm25Index:
    """Passages that can be searched by BM25. For one thread at a time."""

    def __init__(self, engine: bm25s.BM25, analyzer: Analyzer, passages: Sequence[Passage]) -> None:
        self._engine: bm25s.BM25 | None = engine
        self._analyzer, self.passages = analyzer, passages

    def __len__(self) -> int:
        return len(self.passages)

    def search(self, queries: list[str], k: int) -> list[list[Hit]]:
        """The best `k` of each query; of equal scores, the earlier passage."""
        return [self._hits(query, k) for query in queries]

    def _hits(self, query: str, k: int) -> list[Hit]:
        scores = self._scores(query)
        found = np.flatnonzero(scores)
        values = scores[found]
        if len(found) > k:
            enough = values >= np.partition(values, -k)[-k]
            found, values = found[enough], values[enough]
        order = np.argsort(-values, kind="stable")[:k]
        return [Hit(self.passages[int(found[i])], float(values[i])) for i in order]

    def finds(self, number: int) -> bool:
        """Whether the passage of this number has a score for its own text, unless that has no terms."""
        text = self.passages[number].searched
        return not self._analyzer.terms(text) or bool(self._scores(text)[number] > 0)

    def close(self) -> None:
        """Let go of its files, which the engine has mapped as well; nothing can be searched afterwards."""
        self._engine = None
        if isinstance(self.passages, StoredPassages):
            self.passages.close()

    def _scores(self, query: str) -> NDArray[np.float32]:
        assert self._engine is not None, "closed"
        terms = self._engine.get_tokens_ids(self._analyzer.terms(query))
        scores: NDArray[np.float32] = self._engine.get_scores_from_ids(terms)
        return scores


def load_index(folder: Path, config: Bm25s) -> Bm25Index:
    """The index in `folder`, mapped into memory. Raises ConfigError for one that does not fit together."""
    try:
        engine = bm25s.BM25.load(folder, mmap=True)
        passages = StoredPassages(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"index {folder}: damaged: {error}; {REMEDY}") from error
    return Bm25Index(engine, analyzer(config.stemmer, config.stopwords), passages)
