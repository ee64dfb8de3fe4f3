"""A retriever's server as plain HTTP clients meet it, Search-R1's first of all."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from .conftest import Serving, until
from .server_process import SHELF, ServerProcess
from .shelf import book

TOKEN = "a-token-of-the-test"


def ask(url: str, queries: list[str], topk: int) -> list[str]:
    """What a policy of Search-R1's gets to read, one text a query. Its trainer posts without headers of its own,
    and takes a passage's title and text from `contents`."""
    body = {"queries": queries, "topk": topk, "return_scores": True}
    result = requests.post(f"{url}/retrieve", json=body, timeout=30).json()["result"]
    texts = []
    for hits in result:
        contents = [hit["document"]["contents"].split("\n") for hit in hits]
        texts.append(
            "".join(f"Doc {i + 1}(Title: {c[0]}) {chr(10).join(c[1:])}\n" for i, c in enumerate(contents))
        )
    return texts


async def post(url: str, body: Any, **options: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else None
    async with httpx.AsyncClient(timeout=30.0) as client:
        json = None if content is not None else body
        return await client.post(f"{url}/retrieve", json=json, content=content, **options)


async def metrics(url: str) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{url}/metrics")).text
    found = re.findall(r"^agentgym_retriever_(\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def open_requests(url: str, count: int) -> bool:
    return (await metrics(url))["requests_open"] == count


def refused(response: httpx.Response, status: int, reason: str, text: str) -> None:
    assert response.status_code == status, response.text
    assert response.json()["error"] == reason
    assert text in response.json()["detail"]
    assert ("retry-after" in response.headers) == (status in (429, 503))


async def test_search_r1s_client_reads_the_passages_best_first(serving: Serving) -> None:
    url = await serving()
    one, other = await asyncio.to_thread(ask, url, ["word7 everything", "word9"], 2)
    assert one == f'Doc 1(Title: "Book 7") {book(7).text}\nDoc 2(Title: "Book 0") {book(0).text}\n'
    assert other == f'Doc 1(Title: "Book 9") {book(9).text}\n'


async def test_hits_have_scores_and_documents_all_fields(serving: Serving) -> None:
    url = await serving(topk=2)
    answer = (await post(url, {"queries": ["everything", "nothing"], "return_scores": True})).json()
    documents = [
        {"id": str(n), "title": f"Book {n}", "text": book(n).text, "contents": f'"Book {n}"\n{book(n).text}'}
        for n in (0, 1)
    ]
    hits = [{"document": documents[0], "score": 1.0}, {"document": documents[1], "score": 0.5}]
    assert answer == {"result": [hits, []]}
    assert (await post(url, {"queries": ["everything"], "topk": None})).json() == {"result": [documents]}
    assert (await post(url, {"queries": []})).json() == {"result": []}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "Input data was truncated"),
        (b"\xff", 400, "not what was expected"),
        ({"topk": 3}, 400, "missing required field `queries`"),
        ({"queries": "word1"}, 400, "Expected `array`, got `str` - at `$.queries`"),
        ({"queries": [1]}, 400, "Expected `str`, got `int` - at `$.queries[0]`"),
        ({"queries": ["a"], "topk": "3"}, 400, "$.topk"),
        ({"queries": ["a"], "topk": 0}, 422, "topk: 0; this server allows 1 to 100"),
        ({"queries": ["a"], "topk": 101}, 422, "topk: 101; this server allows 1 to 100"),
        ({"queries": ["a"] * 5}, 422, "queries: 5; this server allows 4 a request"),
        ({"queries": ["a" * 2000]}, 413, "a request may have 1000 bytes here"),
    ],
)
async def test_wrong_input_is_refused_and_says_why(serving: Serving, body: Any, status: int, text: str) -> None:
    url = await serving(max_queries=4, max_body=1000)
    reason = "too_large" if status == 413 else "request"
    refused(await post(url, body), status, reason, text)
    seen = await metrics(url)
    assert seen[f'refusals_total{{reason="{reason}"}}'] == 1
    assert seen["queries_total"] == 0


async def test_what_is_not_there_is_refused_and_says_what_is(serving: Serving) -> None:
    url = await serving()
    async with httpx.AsyncClient(base_url=url) as client:
        refused(await client.get("/retrieve"), 405, "request", "/retrieve wants POST, not GET")
        refused(await client.get("/search"), 404, "request", "there are /retrieve, /health, /metrics")
        assert (await client.get("/health")).json() == {"status": "ok", "retriever": "1000 books"}


async def test_queries_are_counted_as_the_retriever_was_asked(serving: Serving) -> None:
    url = await serving()
    await post(url, {"queries": ["word1", "word2", "word3"]})
    await post(url, {"queries": ["word1"]})
    seen = await metrics(url)
    assert seen["queries_total"] == 4
    assert seen['requests_total{status="200"}'] == seen["seconds_count"] == seen["request_queries_count"] == 2
    assert seen["request_queries_sum"] == 4


async def test_a_request_more_than_allowed_is_sent_away_until_one_ends(serving: Serving, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    url = await serving({"gate": str(gate)}, max_requests=2)
    waiting = [asyncio.create_task(post(url, {"queries": [f"word{n}"]})) for n in (1, 2)]
    await until(lambda: open_requests(url, 2))
    refused(await post(url, {"queries": ["word3"]}), 429, "busy", "2 requests are worked on, the most")
    gate.touch()
    for n, task in enumerate(waiting):
        assert (await task).json()["result"][0][0]["id"] == str(n + 1)
    assert (await post(url, {"queries": ["word3"]})).status_code == 200


async def test_no_request_takes_longer_than_allowed(serving: Serving, tmp_path: Path) -> None:
    url = await serving({"gate": str(tmp_path / "never")}, timeout=0.05)
    refused(await post(url, {"queries": ["word1"]}), 503, "late", "no answer within 0.05 s")
    seen = await metrics(url)
    assert seen["requests_open"] == 0
    assert seen['requests_total{status="503"}'] == 1


async def test_a_search_that_fails_is_told_and_harms_no_other(serving: Serving) -> None:
    url = await serving()
    refused(await post(url, {"queries": ["break"]}), 500, "failed", "the shelf broke")
    assert (await post(url, {"queries": ["word1"]})).status_code == 200


async def test_without_the_token_nobody_searches(serving: Serving) -> None:
    url = await serving(token=TOKEN)
    refused(await post(url, {"queries": ["word1"]}), 401, "denied", "was shown none")
    refused(
        await post(url, {"queries": ["word1"]}, headers={"Authorization": "Bearer x"}), 401, "denied", "another"
    )
    shown = await post(url, {"queries": ["word1"]}, headers={"Authorization": f"Bearer {TOKEN}"})
    assert shown.status_code == 200
    with_password = url.replace("http://", f"http://any:{TOKEN}@")
    assert "Book 1" in (await asyncio.to_thread(ask, with_password, ["word1"], 1))[0]


async def test_a_client_that_leaves_in_the_middle_of_its_request_harms_nobody(serving: Serving) -> None:
    url = await serving()
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b'POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"queries"')
    await writer.drain()
    await until(lambda: open_requests(url, 1))
    writer.close()
    await until(lambda: open_requests(url, 0))
    assert (await post(url, {"queries": ["word1"]})).status_code == 200


async def test_the_command_serves_until_it_is_told_to_stop() -> None:
    async with ServerProcess("--retriever", SHELF.partition("=")[2], "--retriever.size", "10") as server:
        assert "Book 3" in (await asyncio.to_thread(ask, server.url, ["word3"], 1))[0]
        assert await server.stop() == 0


def test_settings_that_make_no_sense_are_refused() -> None:
    words = [sys.executable, "-m", "agentgym", "serve"]
    for given, text in [
        (["retriever=nosuch"], "unknown retriever 'nosuch'"),
        ([SHELF, "topk=9", "max_topk=3"], "topk=9 is more than max_topk=3"),
        ([SHELF, "max_querys=3"], "did you mean 'max_queries'?"),
    ]:
        done = subprocess.run([*words, *given], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert text in done.stderr
