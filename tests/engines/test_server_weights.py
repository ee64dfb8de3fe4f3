"""Engine `openai` gives a server the learner's weights, and knows whether it still has them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from agentgym import config
from agentgym.engine import Sampling
from agentgym.errors import ConfigError
from agentgym.models.load import Lora, load_policy

from .api_server import ApiServer, running
from .weights_server import WeightsServer

EXCHANGE = ["pause", "collective_rpc", "reset_prefix_cache", "update_weight_version", "resume"]
PROMPT = list(range(20, 40))


def other(build: Callable[..., Any]) -> Any:
    """A model with other weights."""
    import torch

    model = build("Qwen2")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)
    return model


@asynccontextmanager
async def engines(
    build: Callable[..., Any], tokenizer: Any, shared: Path, server: ApiServer
) -> AsyncIterator[tuple[Any, Any, Any]]:
    """The learner's model, an engine that samples from it here, and the one before a server that began with other
    weights."""
    own, theirs = build("Qwen2"), other(build)
    table = {"name": "torch", "device": "cpu", "max_len": 300}
    here = config.build("engine", table).start(own, tokenizer)
    server.engine = config.build("engine", table).start(theirs, tokenizer)
    if isinstance(server, WeightsServer):
        server.model = theirs
    async with running(server):
        fields = {"base_url": server.url, "api_key_env": "", "served_as": "m", "weights_folder": str(shared)}
        there = config.build("engine", {"name": "openai", "form": "tokens", "patience": 60, **fields})
        live = there.start(own, tokenizer)
        try:
            yield own, here, live
        finally:
            for each in (live, here, server.engine):
                await each.close()
    assert os.listdir(shared) == []


async def test_a_server_samples_with_what_it_is_given(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    server = WeightsServer()
    async with engines(build, tokenizer, tmp_path, server) as (model, here, there):
        await there.begin(model)
        for version, state in ((0, model.state_dict()), (1, other(build).state_dict())):
            model.load_state_dict(state)
            if version:
                await here.load(model, version)
                await there.load(model, version)
            ours = await here.sample(PROMPT, Sampling(max_tokens=20, seed=1))
            said = await there.sample(PROMPT, Sampling(max_tokens=20, seed=1))
            assert said.tokens.ids == ours.tokens.ids
            assert said.tokens.versions == (version,) * len(ours.tokens)
    assert server.calls == EXCHANGE * 2


async def test_a_server_that_was_started_again_is_given_them_again(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    """What it had sampled meanwhile is sampled again."""
    server, folder = WeightsServer(), tmp_path / "its own"
    other(build).save_pretrained(folder)
    os.mkdir(shared := tmp_path / "shared")
    async with engines(build, tokenizer, shared, server) as (model, here, there):
        await there.begin(model)
        ours = await here.sample(PROMPT, Sampling(max_tokens=20, seed=1))
        await server.start_again(folder)
        assert (await there.sample(PROMPT, Sampling(max_tokens=20, seed=1))).tokens.ids == ours.tokens.ids
        await server.start_again(folder)
        scored = await there.score(PROMPT)
        assert scored.logprobs == pytest.approx((await here.score(PROMPT)).logprobs, abs=1e-5)
    assert server.calls == EXCHANGE * 3


async def test_an_exchange_that_breaks_off_is_begun_again(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    server = WeightsServer(fails={"reset_prefix_cache": JSONResponse({"error": "away"}, 503)})
    async with engines(build, tokenizer, tmp_path, server) as (model, _, there):
        await there.begin(model)
    assert server.calls == EXCHANGE[:3] + EXCHANGE


async def test_who_cannot_be_given_weights_is_refused_before_anything_is_sampled(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    broken = {"collective_rpc": JSONResponse({"error": {"message": "no such folder"}}, 500)}
    for server, reason in (
        (ApiServer(), "VLLM_SERVER_DEV_MODE=1"),
        (WeightsServer(takes=False), "nats from the model's own"),
        (WeightsServer(fails=broken), "no such folder.*could not load"),
    ):
        async with engines(build, tokenizer, tmp_path, server) as (model, _, there):
            with pytest.raises(ConfigError, match=reason):
                await there.begin(model)
        if isinstance(server, WeightsServer):
            assert server.calls[-1] == "resume"  # others may want it


async def test_weights_of_another_run_are_not_sampled_with(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    server = WeightsServer()
    async with engines(build, tokenizer, tmp_path, server) as (model, _, there):
        await there.begin(model)
        server.name = "agentgym-of-another"
        with pytest.raises(ConfigError, match="by another run"):
            await there.sample(PROMPT, Sampling(max_tokens=5))


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    table = {"name": "openai", "api_key_env": "", "form": "tokens", "weights_folder": str(tmp_path)}
    model, tokenizer = load_policy("nano", seed=0, lora=Lora(rank=4))
    with pytest.raises(ConfigError, match="engine=vllm"):
        config.build("engine", table).start(model, tokenizer)
    with pytest.raises(ConfigError, match="form=tokens"):
        config.build("engine", table | {"form": "chat"})
    with pytest.raises(ConfigError, match="no folder"):
        config.build("engine", table | {"weights_folder": str(tmp_path / "none")})
