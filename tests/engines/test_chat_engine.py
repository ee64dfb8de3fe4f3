"""Engine `openai`, form chat, against a server on real sockets."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from agentgym.config import build
from agentgym.engine import Sampling
from agentgym.engines.chat_pieces import ChatPieces
from agentgym.engines.pieces import END
from agentgym.errors import ConfigError, EngineError
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Group, Message, Outcome

from .api_server import ApiServer, Says, running
from .counting_env import Counting, tasks

ADD = '''
def add(x: int, y: int) -> int:
    """Add.

    Args:
        x: one number
        y: another
    """
    return x + y
'''
HELLO: list[Message] = [{"role": "user", "content": "hello?"}]
KEY = "sk-secret-0123456789"


def error(status: int, message: str = "no", **more: Any) -> Response:
    return JSONResponse({"error": {"message": message, **more}}, status_code=status)


@asynccontextmanager
async def engine(server: ApiServer, **fields: Any) -> AsyncIterator[Any]:
    table = {"name": "openai", "base_url": server.url, "api_key_env": "", "timeout": 5, "retries": 1, **fields}
    live = build("engine", table).reach("m", ChatPieces())
    try:
        yield live
    finally:
        await live.close()
        await live.close()


async def play(live: Any, env: Any, count: int = 1, max_tokens: int = 100, **guard: Any) -> list[Group]:
    options = {"retries": 0, "max_error_frac": 1.0, "episode_timeout": 30.0, **guard}
    async with Services() as services:
        manager = Manager(env, live, live.chat, services, Limits(max_tokens), Guard(**options))
        return await manager.run(Independent(), tasks(count), 0, 1)


async def test_a_sample_and_what_it_was_asked_with() -> None:
    text = "well, hello \u2028\x85🙂"  # with what ends lines for many, but not in a stream of events
    async with running(ApiServer(lambda body: Says(text))) as server, engine(server) as live:
        sampling = Sampling(max_tokens=9, temperature=0.5, top_p=0.9, top_k=4, seed=2**40 + 7, stop=("</a>",))
        sample = await live.sample(live.chat.open(HELLO), sampling)
        assert (sample.text, sample.finish) == (text, "eos")
        assert len(sample.tokens) == server.completion_tokens == 4
        assert sample.tokens.ids[-1] == END
        assert sample.tokens.logprobs is sample.tokens.entropy is None
        assert live.chat.decode(sample.tokens.ids) == sample.text
        [body] = server.bodies
        assert body == {
            "model": "m",
            "messages": HELLO,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 4,
            "seed": 7,
            "stop": ["</a>"],
            "max_completion_tokens": 9,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        spent = live.spent
        assert (spent.requests, spent.prompt_tokens, spent.completion_tokens) == (1, 1, 4)


async def test_requests_are_made_to_fit_a_server() -> None:
    fields = {"extra": {"reasoning_effort": "low"}, "leave_out": ["top_p", "seed"], "limit_field": "max_tokens"}
    async with running(ApiServer()) as server, engine(server, **fields) as live:
        await live.sample(live.chat.open(HELLO), Sampling(max_tokens=9, seed=1))
        [body] = server.bodies
        assert (body["model"], body["reasoning_effort"], body["max_tokens"]) == ("m", "low", 9)
        assert not {"top_p", "seed", "top_k", "stop", "max_completion_tokens"} & set(body)


async def test_log_probabilities_and_entropies() -> None:
    async with (
        running(ApiServer(lambda body: Says("a bit more"))) as server,
        engine(server, top_logprobs=2) as live,
    ):
        sample = await live.sample(live.chat.open(HELLO), Sampling())
        assert sample.tokens.logprobs == pytest.approx((math.log(0.5),) * 3 + (0,))
        assert sample.tokens.entropy[0] == pytest.approx(
            0.5 * math.log(2) + 0.125 * math.log(8) + 0.375 * -math.log(0.375)
        )
        assert [live.chat.decode([i]) for i in sample.tokens.ids] == ["a ", "bit ", "more", ""]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("keeps_stop", [True, False])
@pytest.mark.parametrize("stops", [4, 1, 0])
async def test_stop_texts_stay_whatever_the_server_does(told: bool, keeps_stop: bool, stops: int) -> None:
    says = Says("<x>1</x> <code>2</code> 3", told=told, keeps_stop=keeps_stop)
    async with running(ApiServer(lambda body: says)) as server, engine(server, stops=stops) as live:
        sample = await live.sample(live.chat.open(HELLO), Sampling(stop=("</answer>", "</code>", "</y>")))
        assert (sample.text, sample.finish) == ("<x>1</x> <code>2</code>", "stop")
        assert server.bodies[0].get("stop", []) == ["</answer>", "</code>", "</y>"][:stops]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("continues", [False, True])
async def test_episodes_are_conversations(inside: bool, continues: bool) -> None:
    def script(body: dict[str, Any]) -> Says:
        last = body["messages"][-1]["content"].split()[-1]
        return Says(f"<say>{int(last) + 1}</say> and", told=True)

    async with running(ApiServer(script)) as server, engine(server, continues=continues) as live:
        [group] = await play(live, Counting(turns=2, inside=inside))
    assert group.returns() == [2.0]
    assert [turn.text for turn in group.turns] == ["<say>11</say>", "<say>12</say>"]
    assert group.turns[0].observation == "[system]\nCount on.\n[user]\nfrom 10\n[assistant]\n"
    assert group.turns[1].observation == ("after 11" if inside else "[user]\nafter 11\n[assistant]\n")
    first, second = server.bodies
    assert [m["role"] for m in first["messages"]] == ["system", "user"]
    if inside and continues:
        assert second["messages"][2:] == [{"role": "assistant", "content": "<say>11</say>after 11"}]
        assert second["continue_final_message"]
    else:
        assert [m["content"] for m in second["messages"][2:]] == ["<say>11</say>", "after 11"]
        assert [m["role"] for m in second["messages"][2:]] == ["assistant", "user"]


async def test_tools_are_called_the_servers_way(tmp_path: Any) -> None:
    def script(body: dict[str, Any]) -> Says:
        last = body["messages"][-1]
        if last["role"] == "tool":
            return Says(f"It is \\boxed{{{last['content']}}}.")
        return Says("Let me see.", calls=[("add", '{"x": 20, "y": 22}')])

    (tmp_path / "add.py").write_text(ADD)
    (tmp_path / "tasks.jsonl").write_text('{"id": "t", "question": "20+22?", "answer": "42"}\n')
    table = {"name": "tool_agent", "tools": f"{tmp_path}/add.py:add", "tasks": f"{tmp_path}/tasks.jsonl"}
    env = build("env", {**table, "prompt": "instruct"})
    named = [("g", task) for task in env.source().draw(1, random.Random(0), "all")]
    async with running(ApiServer(script)) as server, engine(server) as live, Services() as services:
        manager = Manager(env, live, live.chat, services, Limits(200), Guard())
        [group] = await manager.run(Independent(), named, 0, 1)
    assert (group.turns[-1].info["success"], group.turns[-1].info["tool_calls"]) == (True, 1)
    first, second = server.bodies
    assert [tool["function"]["name"] for tool in first["tools"]] == ["add"]
    assistant, output = second["messages"][-2:]
    assert assistant["content"] == "Let me see."
    assert assistant["tool_calls"][0]["id"] == output["tool_call_id"] == "call_1_0"
    assert output["content"] == "42"


async def test_a_conversation_that_is_too_long_is_truncated() -> None:
    async with running(ApiServer(lambda body: Says("<say>11</say>", told=True), context=40)) as server:
        async with engine(server) as live:
            [group] = await play(live, Counting(turns=9, silent=40))
            assert [turn.outcome for turn in group.turns] == [Outcome.MAX_TOKENS]
            assert group.returns() == [0.0]  # one was right, and it was not finished
            assert [("max_completion_tokens" in body) for body in server.bodies] == [True, False, True, False]
            assert live.spent.requests == server.requests == 1
        async with engine(server) as live:  # there is no conversation that could be cut
            long: list[Message] = [{"role": "user", "content": "word " * 50}]
            sample = await live.sample(live.chat.open(long), Sampling())
            assert (sample.tokens.ids, sample.finish) == ((), "length")
    async with running(ApiServer(context=2)) as server, engine(server) as live:
        [group] = await play(live, Counting())
        assert group.turns[-1].outcome is Outcome.ENGINE_ERROR
        assert "the prompt alone" in group.turns[-1].info["error"]


async def test_max_len_ends_an_episode_before_the_server_does() -> None:
    says = Says("<say>11</say>", told=True)
    async with running(ApiServer(lambda body: says)) as server, engine(server, max_len=60) as live:
        [group] = await play(live, Counting(turns=9, silent=99))
        assert group.turns[-1].outcome is Outcome.MAX_TOKENS
        assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (error(401, f"wrong key {KEY}"), r"401: wrong key \*\*\*"),
        (error(404, "no model m"), "no model m.*check model, engine.base_url"),
        (error(429, "pay", code="insufficient_quota"), "pay"),
        (error(400, "unknown field seed"), "unknown field seed.*engine.leave_out"),
    ],
    ids=["401", "404", "quota", "400"],
)
async def test_what_would_fail_every_episode_stops_the_run(
    failure: Response, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    async with running(ApiServer(lambda body: failure)) as server:
        async with engine(server, api_key_env="SOME_KEY", concurrency=4) as live:
            with pytest.raises(BaseExceptionGroup) as caught:
                await play(live, Counting(), count=64)
            assert caught.group_contains(ConfigError, match=said)
            assert KEY not in str(caught.value)
        assert len(server.bodies) <= 8


@pytest.mark.parametrize(
    "failure",
    [
        error(500, "broken"),
        error(400, "cannot do this one"),
        error(400, "policy", code="content_filter"),
        Says("half", finish="content_filter"),
        PlainTextResponse("<html>"),
    ],
    ids=["500", "400", "filtered", "filtered later", "html"],
)
async def test_what_fails_one_episode_is_masked_and_the_others_go_on(failure: Any) -> None:
    def script(body: dict[str, Any]) -> Any:
        if "from 12" in body["messages"][1]["content"] and len(body["messages"]) > 2:
            return failure
        return Says("<say>1</say>", told=True)

    async with running(ApiServer(script)) as server, engine(server, concurrency=1) as live:
        groups = await play(live, Counting(turns=2), count=4, concurrency=1)
        outcomes = [group.turns[-1].outcome for group in groups]
        assert outcomes == [Outcome.DONE, Outcome.DONE, Outcome.ENGINE_ERROR, Outcome.DONE]
        assert live.spent.completion_tokens == server.completion_tokens


async def test_silence_ends_and_waiting_ends() -> None:
    async with running(ApiServer(hold=asyncio.Event())) as server:
        assert server.hold is not None
        async with engine(server, timeout=0.1, retries=0) as live:
            with pytest.raises(EngineError, match=r"nothing was said for 0\.1 s"):
                await live.sample(live.chat.open(HELLO), Sampling())
        async with engine(server, timeout=30, patience=0.1) as live:
            with pytest.raises(EngineError, match=r"no answer within 0\.1 s"):
                await live.sample(live.chat.open(HELLO), Sampling())
        server.hold.set()
    async with engine(server, patience=1.0, retries=None) as live:  # the server is gone
        with pytest.raises(EngineError, match="ConnectError"):
            await live.sample(live.chat.open(HELLO), Sampling())


async def test_closing_fails_those_that_wait() -> None:
    async with running(ApiServer(hold=asyncio.Event())) as server, engine(server, concurrency=1) as live:
        assert server.hold is not None
        asking = [asyncio.create_task(live.sample(live.chat.open(HELLO), Sampling())) for _ in range(3)]
        await server.asked.wait()
        await live.close()
        server.hold.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert [isinstance(result, EngineError) for result in results] == [False, True, True]


async def test_a_budget_ends_what_comes_after_it() -> None:
    async with running(ApiServer(lambda body: Says("<say>1</say>"))) as server:
        prices = {"prompt_price": 1.0, "completion_price": 2e6, "budget_cost": 5.0}
        async with engine(server, concurrency=1, **prices) as live:
            groups = await play(live, Counting(turns=1), count=5, concurrency=1)
            assert [g.turns[-1].outcome is Outcome.DONE for g in groups] == [True, True, False, False, False]
            assert "budget_cost" in groups[-1].turns[-1].info["error"]
            assert live.spent.cost == pytest.approx((2e6 * server.completion_tokens + server.prompt_tokens) / 1e6)
    async with running(ApiServer(usage=False)) as server:
        async with engine(server, budget_tokens=9) as live:
            with pytest.raises(ConfigError, match="no budget can be kept"):
                await live.sample(live.chat.open(HELLO), Sampling())
        async with engine(server) as live:
            assert (
                len((await live.sample(live.chat.open(HELLO), Sampling())).tokens) == 3
            )  # of 4 bytes, and the end


async def test_what_an_api_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(ApiServer()) as server, engine(server) as live:
        with pytest.raises(EngineError, match="does not score"):
            await live.score(live.chat.open(HELLO))
        with pytest.raises(ConfigError, match="returns no token ids"):
            await live.load({}, 1)
        with pytest.raises(EngineError, match="window of 3"):
            await live.sample(live.chat.open(HELLO), Sampling(window=3))
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        build("engine", {"name": "openai", "api_key_env": "NO_SUCH_KEY"}).reach("m", ChatPieces())
    for fields, said in [
        ({"form": "chats"}, "did you mean 'chat'"),
        ({"stops": -1}, "stops"),
        ({"max_len": 1}, "max_len"),
    ]:
        with pytest.raises(ConfigError, match=said):
            build("engine", {"name": "openai", **fields})
