"""A Lucene index, written and searched through Anserini as pyserini does it: BM25 with Lucene's English analysis."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from agentgym.retrievers.java import java_class, java_errors

BATCH = 1000  # passages handed to Java at a time
BUFFER_MB = 64  # that Lucene fills before it writes; its own size would take all of a small heap
MOST_TERMS = 2**16  # different ones in a query; Lucene's own 1,024 make a long query an error


class Found(NamedTuple):
    """A passage, as the number of its row, and its score."""

    row: int
    score: float


def write_lucene(folder: Path, texts: Iterable[str], threads: int) -> None:
    """Index texts, numbered from 0, in an empty folder. Java must run. Raises ToolFailed."""
    with java_errors(f"indexing {folder}"):
        settings = ["-index", str(folder), "-collection", "JsonCollection", "-input", "", "-threads", str(threads)]
        writer = java_class("io.anserini.index.SimpleIndexer")([*settings, "-memoryBuffer", str(BUFFER_MB)])
        try:
            rows = iter(enumerate(texts))
            while batch := list(islice(rows, BATCH)):
                writer.addRawDocuments([json.dumps({"id": str(row), "contents": text}) for row, text in batch])
        finally:
            writer.close()


class LuceneIndex:
    """An index made by `write_lucene`, open for searching. threads: of Java, for the queries of one search."""

    def __init__(self, folder: Path, k1: float, b: float, threads: int) -> None:
        self._folder, self._threads = folder, threads
        with java_errors(f"opening {folder}"):
            java_class("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(MOST_TERMS)
            self._list = java_class("java.util.ArrayList")
            self._searcher = java_class("io.anserini.search.SimpleSearcher")(str(folder))
            self._searcher.set_bm25(k1, b)

    def search(self, queries: list[str], k: int) -> list[list[Found]]:
        """The best `k` of each query, best first."""
        whole = [query.encode("utf-8", "replace").decode("utf-8") for query in queries]  # a lone surrogate is no text
        with java_errors(f"searching {self._folder}"):
            if len(whole) == 1:
                hits = [self._searcher.search(whole[0], k)]
            else:
                texts, names = self._list(), self._list()
                for number, query in enumerate(whole):
                    texts.add(query)
                    names.add(str(number))
                found = self._searcher.batch_search(texts, names, k, self._threads)
                hits = [found.get(str(number)) for number in range(len(whole))]
            return [[Found(int(hit.docid), float(hit.score)) for hit in each] for each in hits]

    def close(self) -> None:
        """Close its files."""
        with java_errors(f"closing {self._folder}"):
            self._searcher.close()
