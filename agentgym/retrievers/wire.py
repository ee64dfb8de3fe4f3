"""Search-R1's protocol (arXiv 2503.09516): what a search server and its clients say to each other, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from agentgym.retriever import Hit, Passage

PATH = "/retrieve"
OURS = ("id", "title", "text", "contents")


class Asked(msgspec.Struct):
    """The body of a request. topk: passages a query; where there is none, the server's own number."""

    queries: list[str]
    topk: int | None = None
    return_scores: bool = False


class Item(msgspec.Struct):
    """A hit. score: comparable within one query only."""

    document: dict[str, Any]
    score: float


class Found(msgspec.Struct):
    """The body of an answer with scores: the hits of each query."""

    result: list[list[Item]]


def to_document(passage: Passage) -> dict[str, Any]:
    """A passage as clients get it: its row of the corpus with the four fields that Search-R1's corpora have."""
    title, text = passage.title, passage.text
    return {**passage.more, "id": passage.id, "title": title, "text": text, "contents": f'"{title}"\n{text}'}


def to_answer(found: Sequence[Sequence[Hit]], scores: bool) -> bytes:
    """The hits of each query as the body of an answer."""
    if scores:
        hits = [[{"document": to_document(p), "score": score} for p, score in each] for each in found]
        return msgspec.json.encode({"result": hits})
    return msgspec.json.encode({"result": [[to_document(passage) for passage, _ in each] for each in found]})


def from_answer(body: bytes) -> list[list[Hit]]:
    """The hits of each query, of an answer with scores; raises ValueError when it is none."""
    return [[Hit(to_passage(hit.document), hit.score) for hit in each] for each in _decoder.decode(body).result]


def to_passage(document: dict[str, Any]) -> Passage:
    """A document as a passage; where it has no text of its own, what `contents` says. Raises ValueError."""
    title, text = document.get("title"), document.get("text")
    if text is None:
        contents = document.get("contents")
        if not isinstance(contents, str):
            raise ValueError(f"a document has neither text nor contents: {document!r:.200}")
        first, _, text = contents.partition("\n")
        title = first.strip('"') if title is None else title
    title = "" if title is None else title
    if not (isinstance(title, str) and isinstance(text, str)):
        raise ValueError(f"a document's title and text are texts, unlike {document!r:.200}")
    more = {name: value for name, value in document.items() if name not in OURS}
    return Passage(str(document.get("id", "")), title, text, more)


_decoder = msgspec.json.Decoder(Found)
