"""Retriever `bm25s`: BM25 with Lucene's formula and analysis, in this process, from an index on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agentgym.retrievers.over_corpus import OverCorpusConfig

if TYPE_CHECKING:
    from agentgym.retrievers.indexed import IndexOnDisk


@dataclass(frozen=True)
class Bm25s(OverCorpusConfig):
    """The best passages by BM25.

    Fields as in OverCorpusConfig, and: stemmer: a Snowball algorithm, or `none`. stopwords: Lucene's 33 English
    ones, or `none`.
    """

    stemmer: Literal["porter", "english", "none"] = "porter"
    stopwords: Literal["lucene", "none"] = "lucene"

    def on_disk(self) -> IndexOnDisk:
        from agentgym.retrievers.bm25_on_disk import on_disk

        return on_disk(self)
