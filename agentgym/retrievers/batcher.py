"""Searches of many episodes at once, answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from inspect import iscoroutinefunction
from itertools import islice
from typing import cast

from agentgym.errors import ToolFailed
from agentgym.retriever import Hit

Search = Callable[[list[str], int], list[list[Hit]]]
"""A search that blocks: queries and how many hits each is to have -> hits, one list a query, in their order."""
AsyncSearch = Callable[[list[str], int], Awaitable[list[list[Hit]]]]
"""The same as a coroutine function."""


@dataclass(eq=False, slots=True)
class _Ask:
    queries: list[str]
    k: int
    answer: asyncio.Future[list[list[Hit]]]


class Batcher:
    """Runs a search, a blocking one in threads of its own: what is asked during it goes into the next together.

    max_batch: queries in one search; what one caller asks at once is never split. threads: searches at a time, for
    a `search` that allows more than one; a coroutine function takes no threads for that. Belongs to the event loop
    it is first used in.
    """

    def __init__(self, search: Search | AsyncSearch, max_batch: int = 64, threads: int = 1) -> None:
        self._max_batch, self._threads = max_batch, threads
        self._pool: ThreadPoolExecutor | None = None
        if iscoroutinefunction(search):
            self._search: AsyncSearch = search
        else:
            self._pool = ThreadPoolExecutor(threads, "agentgym-retriever")
            self._search = _in_threads(cast(Search, search), self._pool)
        self._waiting: deque[_Ask] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._closed = False

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The hits of each query. Raises what the search raises for these queries; ToolFailed when closed."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if self._closed:
            raise ToolFailed("the retriever is closed")
        if not queries:
            return []
        ask = _Ask(list(queries), k, asyncio.get_running_loop().create_future())
        self._waiting.append(ask)
        if len(self._workers) < self._threads:
            self._workers.add(asyncio.create_task(self._work()))
        return await ask.answer

    async def close(self) -> None:
        """Refuse who waits, cancel a search that runs or let it end in its thread; may be called twice."""
        self._closed = True
        while self._waiting:
            _settle(self._waiting.popleft(), ToolFailed("the retriever was closed before it was searched"))
        if self._pool is None:
            for worker in self._workers:
                worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers)
        if self._pool is not None:
            self._pool.shutdown()

    async def _work(self) -> None:
        """Answer until nobody waits; who asks after that must find this worker gone."""
        this = asyncio.current_task()
        assert this is not None
        batch: list[_Ask] = []
        try:
            while batch := self._next():
                await self._answer(batch)
        finally:
            self._workers.discard(this)
            for ask in batch:  # only where this worker itself is ended in the middle
                _settle(ask, ToolFailed("the search was broken off"))

    def _next(self) -> list[_Ask]:
        """Whoever waits longest, and the others that want as many hits, as far as there is room."""
        self._waiting = deque(ask for ask in self._waiting if not ask.answer.done())
        batch: list[_Ask] = []
        room = self._max_batch
        for ask in self._waiting:
            if not batch or (ask.k == batch[0].k and len(ask.queries) <= room):
                batch.append(ask)
                room -= len(ask.queries)
        self._waiting = deque(ask for ask in self._waiting if ask not in batch)
        return batch

    async def _answer(self, batch: list[_Ask]) -> None:
        """Search for all of them; when that fails, for each alone, so that none pays for another's query."""
        queries = [query for ask in batch for query in ask.queries]
        try:
            hits = await self._search(queries, batch[0].k)
            if len(hits) != len(queries):
                raise ToolFailed(f"{len(queries)} queries were searched, and {len(hits)} answers came back")
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0], error)
                return
            for ask in batch:
                if not ask.answer.done():
                    await self._answer([ask])
            return
        rest = iter(hits)
        for ask in batch:
            _settle(ask, list(islice(rest, len(ask.queries))))


def _in_threads(search: Search, pool: ThreadPoolExecutor) -> AsyncSearch:
    async def in_thread(queries: list[str], k: int) -> list[list[Hit]]:
        return await asyncio.get_running_loop().run_in_executor(pool, search, queries, k)

    return in_thread


def _settle(ask: _Ask, answer: list[list[Hit]] | Exception) -> None:
    """Answer who still waits: a caller may have been cancelled meanwhile."""
    if ask.answer.done():
        return
    if isinstance(answer, Exception):
        ask.answer.set_exception(answer)
    else:
        ask.answer.set_result(answer)
