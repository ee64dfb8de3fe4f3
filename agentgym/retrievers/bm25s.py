"""Retriever `bm25s`: BM25 with Lucene's formula and analysis, in this process, from an index on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from agentgym.retriever import Built, Progress, Retriever
    from agentgym.retrievers.indexed import IndexOnDisk


@dataclass(frozen=True)
class Bm25s:
    """The best passages by BM25. The defaults are Anserini's (and so pyserini's).

    corpus: a .jsonl, .jsonl.gz or .parquet file, or several; rows as in `agentgym.retrievers.corpus`. index: the
    folder of its index, which is built where it is missing or the corpus has changed; without one, a folder in the
    user's cache directory. strict: a row that is no passage is an error, instead of being left out and counted.
    k1, b: how little a word's repetitions count, and how much a passage's length. stemmer: a Snowball algorithm,
    or `none`. stopwords: Lucene's 33 English ones, or `none`.
    """

    corpus: str | tuple[str, ...] = ()
    index: str = ""
    strict: bool = False
    k1: float = 0.9
    b: float = 0.4
    stemmer: Literal["porter", "english", "none"] = "porter"
    stopwords: Literal["lucene", "none"] = "lucene"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k1) and self.k1 >= 0):
            raise ValueError(f"k1 must be at least 0, not {self.k1}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b must be from 0 to 1, not {self.b}")

    @property
    def files(self) -> tuple[str, ...]:
        """Of the corpus."""
        return (self.corpus,) if isinstance(self.corpus, str) else self.corpus

    def build(self, progress: Progress) -> Built:
        """See IndexedConfig.build."""
        return self._on_disk().build(progress)

    async def open(self) -> Retriever:
        """Raises ConfigError or TaskError for a corpus or an index that cannot be read, or an index that cannot be
        written."""
        import asyncio

        index = await asyncio.to_thread(self._on_disk)  # what it imports takes a while, and others go on meanwhile
        return await index.open()

    def _on_disk(self) -> IndexOnDisk:
        from agentgym.retrievers.bm25_on_disk import on_disk

        return on_disk(self)
