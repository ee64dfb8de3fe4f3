"""What the retrievers over a corpus of files share: `bm25s` and `pyserini`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.ranges import within

if TYPE_CHECKING:
    from agentgym.retriever import Built, Progress, Retriever
    from agentgym.retrievers.indexed import IndexOnDisk


@dataclass(frozen=True)
class OverCorpusConfig(ABC):
    """corpus: a .jsonl, .jsonl.gz or .parquet file, or several; rows as in `agentgym.retrievers.corpus`. index:
    the folder of its index, which is built where it is missing or the corpus has changed; without one, a folder in
    the user's cache directory. strict: a row that is no passage is an error, instead of being left out and
    counted. k1, b: of BM25, how little a word's repetitions count, and how much a passage's length; the defaults
    are Anserini's (and so pyserini's).
    """

    corpus: str | tuple[str, ...] = ()
    index: str = ""
    strict: bool = False
    k1: float = 0.9
    b: float = 0.4

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k1) and self.k1 >= 0):
            raise ValueError(f"k1 must be at least 0, not {self.k1}")
        within(self, 0, 1, "b")

    @abstractmethod
    def on_disk(self) -> IndexOnDisk:
        """What it says of its index. Raises ConfigError where what it needs is missing."""

    @property
    def files(self) -> tuple[str, ...]:
        """Of the corpus."""
        return (self.corpus,) if isinstance(self.corpus, str) else self.corpus

    def build(self, progress: Progress) -> Built:
        """See IndexedConfig.build."""
        return self.on_disk().build(progress)

    async def open(self) -> Retriever:
        """Raises ConfigError or TaskError for a corpus or an index that cannot be read, or an index that cannot be
        written; ToolFailed where Java fails."""
        import asyncio

        index = await asyncio.to_thread(self.on_disk)  # what it imports takes a while, and others go on meanwhile
        return await index.open()
