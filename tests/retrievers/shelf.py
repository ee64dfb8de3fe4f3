"""A retriever for tests: few passages, in memory, found by the words they share with a query."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.errors import ToolFailed
from agentgym.retriever import Hit, Passage


@dataclass(frozen=True)
class Shelf:
    """It breaks on the query `break`. size: books on it; number 7 is on `word7`, and all are on `everything`.
    gate: a file; until it is there, no search ends."""

    size: int = 1000
    gate: str = ""

    async def open(self) -> Books:
        return Books(self)


def book(number: int) -> Passage:
    """The passage that a query for `word<number>` must find first."""
    text = f"Über word{number} and everything: " + "some more text that is of no use to anybody. " * 10
    return Passage(str(number), f"Book {number}", text)


class Books:
    """The live retriever."""

    def __init__(self, config: Shelf) -> None:
        self._config = config
        self._books = [book(number) for number in range(config.size)]

    @property
    def description(self) -> str:
        return f"{len(self._books)} books"

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        while self._config.gate and not os.path.exists(self._config.gate):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
        return [self._find(query, k) for query in queries]

    async def close(self) -> None:
        self._books = []

    def _find(self, query: str, k: int) -> list[Hit]:
        if query == "break":
            raise ToolFailed("the shelf broke")
        scores: dict[int, float] = {}
        count = len(self._books)
        for word in query.split():
            if word == "everything":
                scores |= {number: scores.get(number, 0.0) + 1 / (1 + number) for number in range(count)}
            elif word.startswith("word") and word[4:].isdecimal() and int(word[4:]) < count:
                scores[int(word[4:])] = 2.0
        best = sorted(scores, key=lambda number: -scores[number])[:k]
        return [Hit(self._books[number], scores[number]) for number in best]
