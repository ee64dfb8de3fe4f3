"""A Lucene index, written and searched through Anserini, as in pyserini: BM25 with its English analysis."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.retrievers.java import check_java, java_class, java_errors, start_java
from agentgym.retrievers.rows import Found

if TYPE_CHECKING:
    from agentgym.retrievers.pyserini import Pyserini

MOST_TERMS = 2**16  # different ones in a query; Lucene's own 1,024 make a long query an error
_BATCH = 1000  # passages handed to Java at a time
_BUFFER_MB = "32"  # that Lucene fills before it writes; its own default would take all of a small heap


class Lucene:
    """See rows.RowIndexing. Raises ConfigError where Java or pyserini is missing."""

    method = "Lucene's BM25"

    def __init__(self, config: Pyserini) -> None:
        check_java()
        self._config = config
        self._threads = config.threads or len(os.sched_getaffinity(0))

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}  # k1 and b have their effect in searching

    def write(self, folder: Path, texts: Iterable[str]) -> None:
        start_java(self._config.heap_mb)
        about = ["-index", str(folder), "-collection", "JsonCollection", "-input", ""]
        with java_errors(f"indexing in {folder}"):
            writer = java_class("io.anserini.index.SimpleIndexer")(
                [*about, "-threads", str(self._threads), "-memoryBuffer", _BUFFER_MB]
            )
            try:
                rows = iter(enumerate(texts))
                while batch := list(islice(rows, _BATCH)):
                    writer.addRawDocuments([json.dumps({"id": str(row), "contents": text}) for row, text in batch])
            finally:
                writer.close()

    def load(self, folder: Path) -> LuceneRows:
        start_java(self._config.heap_mb)
        return LuceneRows(folder, self._config.k1, self._config.b, self._threads)


class LuceneRows:
    """See rows.Rows. threads: of Java, for the queries of one search."""

    def __init__(self, folder: Path, k1: float, b: float, threads: int) -> None:
        self._folder, self._threads = folder, threads
        with java_errors(f"opening index {folder}"):
            java_class("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(MOST_TERMS)
            self._list = java_class("java.util.ArrayList")
            self._searcher = java_class("io.anserini.search.SimpleSearcher")(str(folder))
            self._searcher.set_bm25(k1, b)

    def search(self, queries: list[str], k: int) -> list[list[Found]]:
        whole = [
            query.encode("utf-8", "replace").decode("utf-8") for query in queries
        ]  # a lone surrogate is no text
        with java_errors(f"searching index {self._folder}"):
            hits = [self._searcher.search(whole[0], k)] if len(whole) == 1 else self._together(whole, k)
            return [[Found(int(hit.docid), float(hit.score)) for hit in each] for each in hits]

    def close(self) -> None:
        with java_errors(f"closing index {self._folder}"):
            self._searcher.close()

    def _together(self, queries: list[str], k: int) -> list[Any]:
        texts, names = self._list(), self._list()
        for number, query in enumerate(queries):
            texts.add(query)
            names.add(str(number))
        found = self._searcher.batch_search(texts, names, k, self._threads)
        return [found.get(str(number)) for number in range(len(queries))]
