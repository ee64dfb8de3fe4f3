"""LLM `openai`, against a real server on this machine that counts what it is asked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from agentgym.config import build
from agentgym.errors import BudgetSpent, ConfigError, LlmError
from agentgym.llms.structured import ask, schema_of
from agentgym.types import Message

from .server import Cut, Server, error, running

HELLO: list[Message] = [{"role": "user", "content": "hello?"}]
KEY = "sk-secret-0123456789"


class Colour(msgspec.Struct, forbid_unknown_fields=True):
    name: str


@asynccontextmanager
async def client(server: Server, **fields: Any) -> AsyncIterator[Any]:
    table = {"name": "openai", "model": "m", "base_url": server.url, "api_key_env": "", "timeout": 5, **fields}
    live = await build("llm", table).open()
    try:
        yield live
    finally:
        await live.close()
        await live.close()


async def test_answers_arrive_and_what_they_used_is_counted() -> None:
    prices = {"prompt_price": 2.0, "completion_price": 8.0}
    async with running(Server(lambda body: f"{body['temperature']}")) as server, client(server, **prices) as llm:
        assert await llm.complete(HELLO, n=3, temperature=0.5, max_tokens=7) == ["0.5"] * 3
        spent = llm.spent
    assert (spent.requests, spent.prompt_tokens, spent.completion_tokens, spent.tokens) == (1, 10, 15, 25)
    assert spent.cost == pytest.approx((10 * 2 + 15 * 8) / 1e6)
    [body] = server.requests
    assert (body["model"], body["messages"], body["max_completion_tokens"]) == ("m", HELLO, 7)
    assert "response_format" not in body


async def test_a_server_that_gives_fewer_answers_is_asked_for_the_others() -> None:
    async with running(Server(max_n=1)) as server, client(server) as llm:
        assert await llm.complete(HELLO, n=3) == ["hello"] * 3
    assert [body["n"] for body in server.requests] == [3, 2, 1]


@pytest.mark.parametrize("failure", [error(429), error(500), error(503), Cut()], ids=["429", "500", "503", "cut"])
async def test_what_passes_is_tried_again(failure: Any) -> None:
    answers = iter([failure, failure, "at last"])
    async with running(Server(script=lambda body: next(answers))) as server, client(server, retries=2) as llm:
        assert await llm.complete(HELLO) == ["at last"]
        assert llm.spent.requests == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("failure", "requests", "said"),
    [
        (error(429, "slow down"), 2, "slow down"),
        (error(500, "broken"), 2, "broken"),
        (Cut(), 2, "RemoteProtocolError"),
        (error(401, "who are you"), 1, "who are you"),
        (error(400, "too long"), 1, "too long"),
        (PlainTextResponse("<html>gateway</html>"), 2, "no completion"),
        (JSONResponse({"detail": "odd"}), 2, "no completion"),
        (PlainTextResponse('{"choices": [', media_type="application/json"), 2, "no completion"),
    ],
    ids=["429", "500", "cut", "401", "400", "html", "odd", "no json"],
)
async def test_what_stays_is_an_error_that_says_where_and_what(failure: Any, requests: int, said: str) -> None:
    async with running(Server(script=lambda body: failure)) as server, client(server, retries=1) as llm:
        with pytest.raises(LlmError, match=said) as caught:
            await llm.complete(HELLO)
        assert server.url in str(caught.value)
    assert len(server.requests) == requests


async def test_silence_and_endless_retries_end_by_a_deadline() -> None:
    async with running(Server(hold=asyncio.Event())) as server:
        async with client(server, timeout=0.05, retries=0) as llm:
            with pytest.raises(LlmError, match=r"nothing was said for 0\.05 s"):
                await llm.complete(HELLO)
        async with client(server, timeout=30, patience=0.05) as llm:
            with pytest.raises(LlmError, match=r"no answer within 0\.05 s"):
                await llm.complete(HELLO)
        assert server.hold is not None
        server.hold.set()


async def test_no_more_requests_at_once_than_said() -> None:
    async with running(Server(hold=asyncio.Event())) as server, client(server, concurrency=3) as llm:
        assert server.hold is not None
        asking = [asyncio.create_task(llm.complete(HELLO)) for _ in range(10)]
        await asyncio.wait_for(server.busy.wait(), 10)
        server.hold.set()
        await asyncio.gather(*asking)
    assert (len(server.requests), server.most) == (10, 3)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"budget_tokens": 30}, "30 tokens are spent and budget_tokens is 30"),
        ({"budget_cost": 0.02, "prompt_price": 1000.0}, "0.02 is spent and budget_cost is 0.02"),
    ],
)
async def test_a_spent_budget_is_an_error_and_nothing_more_is_asked(budget: dict[str, Any], said: str) -> None:
    async with running(Server()) as server, client(server, **budget) as llm:
        for _ in range(2):
            await llm.complete(HELLO)
        for _ in range(2):
            with pytest.raises(BudgetSpent, match=said):
                await llm.complete(HELLO)
    assert len(server.requests) == 2


async def test_a_budget_cannot_be_kept_with_a_server_that_says_nothing_of_use() -> None:
    async with running(Server(tokens=None)) as server:
        async with client(server) as llm:
            assert await llm.complete(HELLO) == ["hello"]
        async with client(server, budget_tokens=10) as llm:
            with pytest.raises(LlmError, match="no budget can be kept"):
                await llm.complete(HELLO)


async def test_a_schema_is_asked_for_and_done_without_where_the_server_refuses() -> None:
    answers = ['{"name": "red"}']
    async with running(Server(script=lambda body: answers[0])) as server, client(server) as llm:
        assert await ask(llm, HELLO, Colour) == [Colour("red")]
    form = server.requests[0]["response_format"]
    assert (form["type"], form["json_schema"]["schema"]) == ("json_schema", schema_of(Colour))
    assert form["json_schema"]["schema"]["additionalProperties"] is False

    def refuses(body: dict[str, Any]) -> Any:
        return error(400, "unknown field response_format") if "response_format" in body else '{"name": "red"}'

    async with running(Server(script=refuses)) as server, client(server) as llm:
        for _ in range(2):
            assert await ask(llm, HELLO, Colour) == [Colour("red")]
    assert ["response_format" in body for body in server.requests] == [True, False, False]


async def test_answers_that_do_not_fit_are_asked_for_again_and_only_those() -> None:
    answers = iter(['{"name": "red"}', "blue", '{"name": 3}', '```json\n{"name": "green"}\n```', '{"name": "a"}'])
    async with running(Server(script=lambda body: next(answers))) as server, client(server) as llm:
        assert await ask(llm, HELLO, Colour, n=3, tries=2) == [Colour("red"), Colour("green"), Colour("a")]
    assert [body["n"] for body in server.requests] == [3, 2]
    async with running(Server(script=lambda body: '{"colour": "red"}')) as server, client(server) as llm:
        with pytest.raises(LlmError, match=r"no Colour that fits its schema: .*colour"):
            await ask(llm, HELLO, Colour, tries=3)
    assert len(server.requests) == 3


async def test_the_key_is_sent_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    repeats = Server(lambda body: error(401, f"wrong key {KEY}"))
    async with running(repeats) as server, client(server, api_key_env="SOME_KEY") as llm:
        with pytest.raises(LlmError, match=r"wrong key \*\*\*") as caught:
            await llm.complete(HELLO)
        assert KEY not in str(caught.value) + repr(llm.config)
    assert server.keys == [f"Bearer {KEY}"]


async def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agentgym.api.transport", raising=False)
    monkeypatch.delitem(sys.modules, "agentgym.api.connections", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"llm openai: m needs .*pip install -e '\.\[openai\]'"):
        await build("llm", {"name": "openai", "model": "m", "api_key_env": ""}).open()


async def test_what_is_missing_or_makes_no_sense_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        await build("llm", {"name": "openai", "model": "m", "api_key_env": "NO_SUCH_KEY"}).open()
    for fields, said in [
        ({"budget_cost": 1}, "budget_cost needs"),
        ({"base_url": "localhost"}, "base_url"),
        ({"base_url": f"http://:{KEY}@host"}, "base_url"),
        ({"concurrency": 0}, "concurrency must be above 0"),
    ]:
        with pytest.raises(ConfigError, match=said):
            build("llm", {"name": "openai", "model": "m", **fields})
