"""Hundreds of searches while the server is killed, or a proxy does its worst: right, or failed as it should be."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from agentgym.errors import ToolFailed, ToolTimeout
from agentgym.retrievers.http import Http
from agentgym.retrievers.http_retriever import HttpRetriever

from .conftest import until
from .faulty import FAULTS, SLOWLY, FaultyProxy, now_and_then
from .server_process import ServerProcess
from .shelf import book

pytestmark = pytest.mark.usefixtures("nothing_left")
SEARCHERS = 200


class Storm:
    """Searchers that look for book after book. ended: searches by how; nothing else may come of one."""

    def __init__(self, retriever: HttpRetriever, searches: int) -> None:
        self._retriever, self._searches = retriever, searches
        self.ended: Counter[str] = Counter()

    async def blow(self) -> None:
        await asyncio.gather(*(self._search(number) for number in range(SEARCHERS)))

    async def _search(self, searcher: int) -> None:
        for i in range(self._searches):
            number = (searcher * self._searches + i) % 1000
            try:
                [hits] = await self._retriever.search([f"word{number}"], 3)
                right = [hit.passage for hit in hits] == [book(number)]
                self.ended["right" if right else "wrong"] += 1
            except (ToolTimeout, ToolFailed) as error:
                self.ended[type(error).__name__] += 1


async def test_a_server_killed_and_restarted_in_mid_run_costs_no_search() -> None:
    async with ServerProcess() as server:
        retriever = await Http(server.url).open()
        try:
            storm = Storm(retriever, 20)
            blowing = asyncio.create_task(storm.blow())
            for share in (0.2, 0.6):
                await until(lambda least=share * SEARCHERS * 20: storm.ended.total() > least)
                await server.kill()
                await server.start()
                assert not blowing.done()
            await blowing
        finally:
            await retriever.close()
    assert storm.ended == {"right": SEARCHERS * 20}


async def test_every_search_through_a_faulty_proxy_is_right_or_fails_as_it_should() -> None:
    async with ServerProcess() as server, FaultyProxy(server.url, now_and_then(0.05, seed=3)) as proxy:
        retriever = await Http(proxy.url, timeout=1.0, max_batch=4).open()
        try:
            storm = Storm(retriever, 3)
            await storm.blow()
        finally:
            await retriever.close()
    assert all(proxy.done[fault] for fault in (*FAULTS, SLOWLY)), proxy.done
    assert storm.ended.keys() <= {"right", "ToolFailed"}, storm.ended
    assert storm.ended.total() == SEARCHERS * 3
    assert storm.ended["right"] > 0.7 * SEARCHERS * 3
