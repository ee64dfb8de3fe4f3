"""The client of search servers: ours for real, and others as they may be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agentgym.config import build
from agentgym.errors import ConfigError, ToolFailed, ToolTimeout
from agentgym.retrievers.http import Http
from agentgym.retrievers.http_retriever import HttpRetriever

from .conftest import Serving, until
from .faulty import FaultyProxy, in_order
from .server_process import ServerProcess
from .shelf import Shelf, book
from .test_serving import metrics

pytestmark = pytest.mark.usefixtures("nothing_left")
OLD = {"id": 12, "contents": '"A title"\nA text.\nIts second line.', "year": 1999}


class Canned:
    """A server that gives the same answer to whatever it is asked."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self._answer = b"HTTP/1.1 %d Canned\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(self._answer)
        writer.close()


async def opened(url: str, **settings: float) -> HttpRetriever:
    return await Http(url, **{"patience": 30.0, **settings}).open()  # type: ignore[arg-type]


async def test_it_finds_what_the_retriever_finds_in_process(serving: Serving) -> None:
    queries = ["word7 everything", "word9", "nothing", "half a \ud800 surrogate, word1"]
    inside = await Shelf().open()
    retriever = await opened(await serving())
    try:
        assert await retriever.search(queries, 3) == await inside.search(queries, 3)
        assert await retriever.search([], 3) == []
    finally:
        await retriever.close()


async def test_searches_that_wait_are_sent_together(serving: Serving) -> None:
    url = await serving()
    retriever = await opened(url + "/retrieve", max_connections=2, max_batch=16)
    try:
        found = await asyncio.gather(*(retriever.search([f"word{n}"], 1) for n in range(100)))
    finally:
        await retriever.close()
    assert [hits[0][0].passage for hits in found] == [book(n) for n in range(100)]
    seen = await metrics(url)
    assert seen["queries_total"] == 100
    assert seen["request_queries_count"] < 20


async def test_a_query_that_cannot_be_searched_harms_none_that_was_sent_with_it(serving: Serving) -> None:
    retriever = await opened(await serving(), max_connections=1)
    try:
        queries = ["word1", "word2", "break", "word3"]
        found = await asyncio.gather(*(retriever.search([q], 1) for q in queries), return_exceptions=True)
    finally:
        await retriever.close()
    assert isinstance(found[2], ToolFailed)
    assert "the shelf broke" in str(found[2])
    assert [found[n][0][0].passage for n in (0, 1, 3)] == [book(n) for n in (1, 2, 3)]  # type: ignore[index]


async def test_it_reads_what_search_r1s_own_server_answers() -> None:
    """Its dense retrievers give out the rows of the corpus, which have `contents` alone."""
    async with Canned(json.dumps({"result": [[{"document": OLD, "score": 0.25}]]}).encode()) as url:
        retriever = await opened(url)
        try:
            [[(passage, score)]] = await retriever.search(["any"], 3)
        finally:
            await retriever.close()
    assert (passage.id, passage.title, passage.text) == ("12", "A title", "A text.\nIts second line.")
    assert (passage.more, score) == ({"year": 1999}, 0.25)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"<html>it works</html>", 200, "it works"),
        (b"", 200, "truncated"),
        (b"\xff\xfe", 200, "200"),
        (b'{"detail": "none"}', 200, "missing required field `result`"),
        (b'{"result": [[{"document": {"id": "1", "contents": "a"}}]]}', 200, "missing required field `score`"),
        (b'{"result": [[{"id": "1", "contents": "a"}]]}', 200, "missing required field"),
        (b'{"result": [[{"document": {"id": "1"}, "score": 1}]]}', 200, "neither text nor contents"),
        (b'{"result": []}', 200, "0 results for 1 queries"),
        (b'{"result": [[], []]}', 200, "2 results for 1 queries"),
        (b"a traceback", 500, "500 Canned: 'a traceback'"),
        (b"gone", 301, "301 Canned: 'gone'"),
    ],
)
async def test_an_answer_that_is_none_fails_with_what_was_seen(body: bytes, status: int, text: str) -> None:
    async with Canned(body, status) as url:
        retriever = await opened(url)
        try:
            with pytest.raises(ToolFailed, match=f"the search server {url} answered {status}") as caught:
                await retriever.search(["any"], 3)
        finally:
            await retriever.close()
    assert text in str(caught.value)


async def test_more_hits_than_were_asked_for_are_left_out() -> None:
    async with Canned(json.dumps({"result": [[{"document": OLD, "score": 1}] * 9]}).encode()) as url:
        retriever = await opened(url)
        try:
            assert [len(hits) for hits in await retriever.search(["any"], 2)] == [2]
        finally:
            await retriever.close()


async def test_a_limit_of_the_server_is_told(serving: Serving) -> None:
    retriever = await opened(await serving(max_topk=5))
    try:
        with pytest.raises(ToolFailed, match="topk: 6; this server allows 1 to 5"):
            await retriever.search(["word1"], 6)
    finally:
        await retriever.close()


@pytest.mark.parametrize("fault", ["hang", "truncate", "close", "429", "503"])
async def test_what_passes_is_tried_again(serving: Serving, fault: str) -> None:
    async with FaultyProxy(await serving(), in_order(fault, fault)) as proxy:
        retriever = await opened(proxy.url, timeout=0.2 if fault == "hang" else 15.0)
        try:
            assert (await retriever.search(["word5"], 1))[0][0].passage == book(5)
        finally:
            await retriever.close()
        assert proxy.done[fault] == 2


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ("hang", ToolTimeout, "no answer within 3 s"),
        ("503", ToolFailed, "within 3 s: 503 Told: 'as it was told'"),
    ],
)
async def test_what_does_not_pass_fails_when_patience_ends(
    serving: Serving, fault: str, kind: type[Exception], text: str
) -> None:
    async with FaultyProxy(await serving(), lambda: fault) as proxy:
        retriever = await opened(proxy.url, timeout=0.1 if fault == "hang" else 15.0, patience=3.0)
        try:
            with pytest.raises(kind, match=text):
                await retriever.search(["word5"], 1)
        finally:
            await retriever.close()


async def test_a_server_that_is_gone_is_waited_for_and_then_missed() -> None:
    server = ServerProcess()
    with pytest.raises(ToolFailed, match=r"within 0.3 s: ConnectError"):
        await Http(server.url, patience=0.3).open()
    async with server:
        retriever = await opened(server.url, patience=1.0)
        try:
            await server.kill()
            searches = (retriever.search([f"word{n}"], 1) for n in range(50))
            found = await asyncio.gather(*searches, return_exceptions=True)
        finally:
            await retriever.close()
    assert {type(error) for error in found} == {ToolFailed}


async def test_the_wrong_token_is_found_out_at_once(serving: Serving, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("right\n")
    url = await serving(token="right")
    with pytest.raises(ToolFailed, match=r"401 Unauthorized.*was shown another"):
        await Http(url, token="wrong").open()
    retriever = await Http(url, token_file=str(file)).open()
    try:
        assert (await retriever.search(["word5"], 1))[0][0].passage == book(5)
    finally:
        await retriever.close()


async def test_a_search_that_is_cancelled_harms_no_other_and_leaves_nothing(serving: Serving) -> None:
    async with FaultyProxy(await serving(), in_order("hang")) as proxy:
        retriever = await opened(proxy.url, timeout=0.5, max_connections=1)
        try:
            given_up, other = (asyncio.create_task(retriever.search([f"word{n}"], 1)) for n in (1, 2))
            await until(lambda: proxy.done["hang"])
            given_up.cancel()
            assert (await other)[0][0].passage == book(2)
            assert given_up.cancelled()
        finally:
            await retriever.close()
        await until(lambda: not proxy.connections)


async def test_closing_ends_searches_at_once_and_twice_is_fine(serving: Serving) -> None:
    async with FaultyProxy(await serving(), lambda: "hang") as proxy:
        retriever = await opened(proxy.url, patience=1000.0, timeout=1000.0, max_connections=2)
        searches = [asyncio.create_task(retriever.search([f"word{n}"], 1)) for n in range(9)]
        await until(lambda: proxy.done["hang"])
        async with asyncio.timeout(30.0):
            await retriever.close()
            found = await asyncio.gather(*searches, return_exceptions=True)
        assert {type(error) for error in found} == {ToolFailed}
        await retriever.close()
        with pytest.raises(ToolFailed, match="closed"):
            await retriever.search(["word1"], 1)
        await until(lambda: not proxy.connections)


def test_settings_that_make_no_sense_are_refused() -> None:
    for given, text in [({"url": "localhost:8000"}, "http://HOST:PORT"), ({"patience": 0}, "patience must be")]:
        with pytest.raises(ConfigError, match=text):
            build("retriever", {"name": "http", **given})
