"""Searches asked for together are searched together, and nobody pays for another's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from agentgym.errors import ToolFailed
from agentgym.retriever import Hit, Passage
from agentgym.retrievers.batcher import Batcher


class Slow:
    """A search that waits at its first call until it is let go, and remembers what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.two, self.go = threading.Event(), threading.Event(), threading.Event()
        self.at_once = self.most = 0
        self._count = threading.Lock()

    def __call__(self, queries: list[str], k: int) -> list[list[Hit]]:
        with self._count:
            self.batches.append(queries)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            if self.at_once == 2:
                self.two.set()
        self.begun.set()
        assert self.go.wait(20)
        with self._count:
            self.at_once -= 1
        if "bad" in queries:
            raise ValueError("no such word")
        if "short" in queries:
            return []
        return [[Hit(Passage(f"{query}{i}", "", ""), 1.0) for i in range(k)] for query in queries]


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    search = Slow()
    yield search
    search.go.set()


async def ask(batcher: Batcher, *queries: str, k: int = 1) -> asyncio.Task[list[list[Hit]]]:
    """Asked for, and on its way."""
    task = asyncio.create_task(batcher.search(queries, k))
    await asyncio.sleep(0)
    return task


async def begun(search: Slow) -> None:
    assert await asyncio.to_thread(search.begun.wait, 20)


def ids(answer: list[list[Hit]]) -> list[list[str]]:
    return [[hit.passage.id for hit in hits] for hits in answer]


async def test_what_arrives_during_a_search_goes_into_the_next_together(slow: Slow) -> None:
    batcher = Batcher(slow, max_batch=4)
    first = await ask(batcher, "a")
    await begun(slow)
    later = [await ask(batcher, *queries) for queries in (("b",), ("c", "d"), ("e", "f"), ("g",))]
    slow.go.set()
    assert ids(await first) == [["a0"]]
    assert [ids(await task) for task in later] == [[["b0"]], [["c0"], ["d0"]], [["e0"], ["f0"]], [["g0"]]]
    assert slow.batches == [["a"], ["b", "c", "d", "g"], ["e", "f"]]
    await batcher.close()


async def test_those_who_want_other_numbers_of_hits_are_searched_apart(slow: Slow) -> None:
    batcher = Batcher(slow)
    slow.go.set()
    answers = await asyncio.gather(batcher.search(["a"], 1), batcher.search(["b"], 3), batcher.search(["c"], 1))
    assert [ids(answer) for answer in answers] == [[["a0"]], [["b0", "b1", "b2"]], [["c0"]]]
    assert slow.batches == [["a", "c"], ["b"]]
    await batcher.close()


async def test_a_failing_query_is_the_failure_of_who_asked_it(slow: Slow) -> None:
    batcher = Batcher(slow)
    slow.go.set()
    asked = [await ask(batcher, query) for query in ("a", "bad", "b")]
    good, bad, other = await asyncio.gather(*asked, return_exceptions=True)
    assert not isinstance(good, BaseException)
    assert not isinstance(other, BaseException)
    assert (ids(good), ids(other)) == ([["a0"]], [["b0"]])
    assert isinstance(bad, ValueError)
    await batcher.close()


async def test_a_search_that_loses_answers_is_no_silent_mix_up(slow: Slow) -> None:
    batcher = Batcher(slow)
    slow.go.set()
    with pytest.raises(ToolFailed, match="1 queries were searched, and 0 answers"):
        await batcher.search(["short"], 1)
    await batcher.close()


async def test_who_is_cancelled_harms_no_other(slow: Slow) -> None:
    batcher = Batcher(slow)
    running = await ask(batcher, "a")
    await begun(slow)
    waiting, other = await ask(batcher, "b"), await ask(batcher, "c")
    running.cancel()
    waiting.cancel()
    slow.go.set()
    assert ids(await other) == [["c0"]]
    assert slow.batches == [["a"], ["c"]]
    assert running.cancelled()
    await batcher.close()


async def test_as_many_threads_as_given_search_at_once(slow: Slow) -> None:
    batcher = Batcher(slow, max_batch=1, threads=2)
    tasks = [await ask(batcher, query) for query in "abcde"]
    assert await asyncio.to_thread(slow.two.wait, 20)
    slow.go.set()
    await asyncio.gather(*tasks)
    assert slow.most == 2
    await batcher.close()


async def test_closing_lets_the_running_end_refuses_the_others_and_leaves_no_thread(slow: Slow) -> None:
    before = set(threading.enumerate())
    batcher = Batcher(slow)
    running = await ask(batcher, "a")
    await begun(slow)
    waiting = await ask(batcher, "b")
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(ToolFailed, match="closed"):
        await waiting
    slow.go.set()
    await closing
    await batcher.close()
    assert ids(await running) == [["a0"]]
    with pytest.raises(ToolFailed, match="closed"):
        await batcher.search(["c"], 1)
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("agentgym-retriever")]


async def test_one_search_after_the_other(slow: Slow) -> None:
    batcher = Batcher(slow)
    slow.go.set()
    async with asyncio.timeout(20):
        for i in range(200):
            assert ids(await batcher.search([str(i)], 1)) == [[f"{i}0"]]
    await batcher.close()


async def test_nothing_is_asked_for_nothing(slow: Slow) -> None:
    batcher = Batcher(slow)
    assert await batcher.search([], 3) == []
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        await batcher.search(["a"], 0)
    await batcher.close()
