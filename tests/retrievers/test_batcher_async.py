"""Searches that are coroutines, as a client of a server has them."""

from __future__ import annotations

import asyncio

import pytest

from agentgym.errors import ToolFailed
from agentgym.retriever import Hit, Passage
from agentgym.retrievers.batcher import Batcher


def hits(queries: list[str], k: int) -> list[list[Hit]]:
    return [[Hit(Passage(query, "", ""), 1.0)] * k for query in queries]


async def in_loop(queries: list[str], k: int) -> list[list[Hit]]:
    return hits(queries, k)


@pytest.mark.parametrize("search", [hits, in_loop])
async def test_whoever_asks_again_as_soon_as_it_is_answered_is_answered(search) -> None:
    batcher = Batcher(search)
    async with asyncio.timeout(30.0):
        for n in range(20):
            assert await batcher.search([str(n)], 2) == hits([str(n)], 2)
        await batcher.close()


async def test_closing_cancels_a_coroutine_and_refuses_who_waits() -> None:
    begun = asyncio.Event()

    async def never(queries: list[str], k: int) -> list[list[Hit]]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    batcher = Batcher(never)
    searches = [asyncio.create_task(batcher.search(["a"], 1))]
    async with asyncio.timeout(30.0):
        await begun.wait()
        searches.append(asyncio.create_task(batcher.search(["b"], 1)))
        await asyncio.sleep(0)
        await batcher.close()
        ended = await asyncio.gather(*searches, return_exceptions=True)
    assert [type(error) for error in ended] == [ToolFailed, ToolFailed]
