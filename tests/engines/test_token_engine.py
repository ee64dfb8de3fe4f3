"""Engine `openai`, form tokens: a server of token ids says what the engine in this process says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import JSONResponse

from agentgym import config
from agentgym.engine import Sampling
from agentgym.errors import ConfigError, EngineError
from agentgym.models.chat import Chat
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Outcome

from .api_server import ApiServer, running
from .counting_env import Counting, tasks


@pytest.fixture(scope="module")
def model(build: Callable[..., Any]) -> Any:
    return build("Qwen2")


@pytest.fixture(scope="module")
def chat(tokenizer: Any) -> Chat:
    return Chat(tokenizer)


@asynccontextmanager
async def engines(model: Any, chat: Chat, server: ApiServer, **fields: Any) -> AsyncIterator[tuple[Any, Any]]:
    """The engine here, which the server asks as well, and the one that asks the server."""
    here = config.build("engine", {"name": "torch", "device": "cpu", "max_len": 300}).start(model, chat.tokenizer)
    server.engine = here
    table = {"name": "openai", "form": "tokens", "base_url": server.url, "api_key_env": "", "served_as": "m"}
    there = config.build("engine", {**table, "retries": 0, "timeout": 20, **fields}).start(model, chat.tokenizer)
    try:
        yield here, there
    finally:
        await there.close()
        await here.close()


@pytest.mark.parametrize("stop", [(), ("e",), ("the", "o r")], ids=["none", "short", "long"])
async def test_what_is_sampled_there_is_what_is_sampled_here(
    model: Any, chat: Chat, stop: tuple[str, ...]
) -> None:
    prompt = chat.open([{"role": "user", "content": "what is 2 + 3?"}])
    async with running(ApiServer()) as server, engines(model, chat, server) as (here, there):
        for seed in range(4):
            sampling = Sampling(max_tokens=25, stop=stop, seed=seed)
            ours, theirs = await here.sample(prompt, sampling), await there.sample(prompt, sampling)
            assert theirs.tokens.ids == ours.tokens.ids
            assert theirs.tokens.logprobs == pytest.approx(ours.tokens.logprobs, abs=1e-5)
            assert (theirs.text, theirs.finish) == (ours.text, ours.finish)
        assert there.vocab_size == here.vocab_size
        scored = await there.score(prompt)
        assert scored.logprobs == pytest.approx((await here.score(prompt)).logprobs, abs=1e-5)
        assert scored.ids == prompt


async def test_a_stop_text_may_begin_in_what_was_said_before(model: Any, chat: Chat) -> None:
    """The server looks for it in what it samples alone."""
    prompt = chat.open([{"role": "user", "content": "hello"}])
    async with running(ApiServer()) as server, engines(model, chat, server) as (here, there):
        free = await here.sample(prompt, Sampling(max_tokens=30, seed=1))
        said, rest = free.tokens.ids[:10], chat.decode(free.tokens.ids[10:])
        stop = chat.decode(said)[-2:] + rest[:2]
        sampling = Sampling(max_tokens=20, seed=2, temperature=0, stop=(stop,), begun=10)
        [ours, theirs] = [await e.sample([*prompt, *said], sampling) for e in (here, there)]
        assert (theirs.tokens.ids, theirs.finish) == (ours.tokens.ids, ours.finish)
        likely = await here.sample([*prompt, *said], Sampling(max_tokens=20, temperature=0))
        crossing = chat.decode(said)[-1:] + likely.text[:1]
        sampling = Sampling(max_tokens=20, temperature=0, stop=(crossing,), begun=10, seed=3)
        assert (await there.sample([*prompt, *said], sampling)).finish == "stop"


async def test_episodes_and_their_cost(model: Any, chat: Chat) -> None:
    async with running(ApiServer()) as server, engines(model, chat, server) as (here, there):
        played = []
        for live in (here, there):
            async with Services() as services:
                manager = Manager(Counting(), live, chat, services, Limits(60), Guard())
                groups = await manager.run(Independent(), tasks(6), 0, 2)
            played.append([[turn.action.ids for turn in group.turns] for group in groups])
        assert played[0] == played[1]
        sampled = sum(len(ids) for group in played[1] for ids in group)
        assert there.spent.completion_tokens == sampled


async def test_a_server_with_less_room_is_believed(model: Any, chat: Chat) -> None:
    prompt = chat.open([{"role": "user", "content": "hello"}])
    room = len(prompt) + 3
    async with running(ApiServer(context=room)) as server, engines(model, chat, server) as (_, there):
        assert there.max_len > room
        sample = await there.sample(prompt, Sampling(max_tokens=50, seed=0))
        assert len(sample.tokens) <= 3
        assert there.max_len == room
    async with running(ApiServer(context=room)) as server, engines(model, chat, server) as (_, there):
        full = await there.sample([*prompt] * 2, Sampling(max_tokens=50, seed=0))
        assert (full.tokens.ids, full.finish) == ((), "length")
    async with (
        running(ApiServer(context=room)) as server,
        engines(model, chat, server, served_as="?") as (_, there),
    ):
        with pytest.raises(EngineError, match=r"engine\.max_len"):
            await there.sample(prompt, Sampling(max_tokens=50, seed=0))


async def test_what_is_not_exact_is_refused(model: Any, chat: Chat) -> None:
    prompt = chat.open([{"role": "user", "content": "hello"}])
    choice: dict[str, Any] = {"text": "hi", "finish_reason": "stop"}
    odd = {
        "no token_ids": {},
        "not as many log-probabilities": {"token_ids": [5, 6], "logprobs": {"token_logprobs": [-1.0]}},
        "another model": {"token_ids": [10**6], "logprobs": {"token_logprobs": [-1.0]}},
    }
    async with running(ApiServer()) as server:
        for said, more in odd.items():

            async def answer(_: Any, more: dict[str, Any] = more) -> JSONResponse:
                return JSONResponse({"choices": [{**choice, **more}], "usage": {}})

            server.complete = answer  # type: ignore[method-assign]
            async with running(server), engines(model, chat, server) as (_, there):
                with pytest.raises(EngineError, match=said):
                    await there.sample(prompt, Sampling())
        async with engines(model, chat, server, raw_logprobs=False) as (_, there):
            with pytest.raises(ConfigError, match="raw_logprobs"):
                await there.sample(prompt, Sampling(temperature=0.5))
            with pytest.raises(ConfigError, match="weights cannot be set"):
                await there.load({}, 1)


async def test_failures_end_as_outcomes(model: Any, chat: Chat) -> None:
    async with running(ApiServer()) as server, engines(model, chat, server) as (_, there):
        url = there.config.base_url
    async with engines(model, chat, ApiServer(url=url)) as (_, there), Services() as services:
        manager = Manager(Counting(), there, chat, services, Limits(60), Guard(retries=0, max_error_frac=1.0))
        [group] = await manager.run(Independent(), tasks(1), 0, 1)
        assert group.turns[-1].outcome is Outcome.ENGINE_ERROR
