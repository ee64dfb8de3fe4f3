"""Passages in memory, made searchable in milliseconds: for worlds that bring their own."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import bm25s
import numpy as np

from agentgym.errors import ToolFailed
from agentgym.retriever import Hit, Passage, Retriever
from agentgym.retrievers.analyzer import Vocabulary, analyzer
from agentgym.retrievers.bm25_index import Bm25Index
from agentgym.retrievers.postings import add_up, count, score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentgym.retrievers.bm25s import Bm25s


def index_passages(passages: Sequence[Passage], config: Bm25s) -> Retriever:
    """A retriever over these passages, scored as `config` says; its files are not looked at.

    It searches where it is called, without a thread: meant for some thousands of passages.
    """
    reader = analyzer(config.stemmer, config.stopwords)
    vocabulary = Vocabulary(reader)
    numbers, lengths = array("i"), array("i")
    for passage in passages:
        found = vocabulary.numbers(passage.searched)
        numbers.extend(found)
        lengths.append(len(found))
    parts = [count(numbers, lengths, 0)]
    scores = score(parts, add_up(parts, len(vocabulary.terms)), config.k1, config.b, _room)
    engine = bm25s.BM25(k1=config.k1, b=config.b, method="lucene")
    engine.vocab_dict, engine.nonoccurrence_array = vocabulary.terms, None
    engine.scores = {
        "data": scores.data,
        "indices": scores.passages,
        "indptr": scores.starts,
        "num_docs": len(passages),
    }
    return InMemory(Bm25Index(engine, reader, passages))


def _room(name: str, size: int, dtype: Any) -> NDArray[Any]:
    return np.empty(size, dtype)


class InMemory:
    """A live retriever without files or threads."""

    def __init__(self, index: Bm25Index) -> None:
        self._index = index
        self._closed = False

    @property
    def description(self) -> str:
        return f"BM25 over {len(self._index.passages):,} passages in memory"

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """See Retriever.search."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if self._closed:
            raise ToolFailed("the retriever is closed")
        return self._index.search(list(queries), k)

    async def close(self) -> None:
        """Nothing is held; later searches are refused."""
        self._closed = True
