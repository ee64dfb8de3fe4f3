"""Engine `openai` before vLLM's own server: what engines promise, episodes, training, and the server's death.

The server takes a quarter of a minute to start, twice.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agentgym import opening, run
from agentgym.check import check_engine
from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.models import nano
from agentgym.trainers.evaluate import evaluate
from tests.free_port import free_port

from .faulty_proxy import FAULTS, faulty
from .vllm_server import VllmServer, serving

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: .ci/install_vllm FOLDER"),
    pytest.mark.asyncio(loop_scope="module"),
]
COLD = 100
"""Steps of the cold start, after which the policy calls its tool now and then."""
EPISODES = 256


class Silent:
    """A reporter that says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def settings(**fields: Any) -> Any:
    env = {
        "name": "retool",
        "sandbox": {"name": "local", "allow_weak": True},
        "prompt": "plain",
        "demo_direct_rate": 0.5,
    }
    common = {
        "recipe": "retool",
        "env": env,
        "seed": 0,
        "retries": 0,
        "max_error_frac": 0.0,
        "episode_timeout": 900,
    }
    return run.resolve_settings({**common, **fields}, [])


def engine(url: str, **fields: Any) -> dict[str, Any]:
    return {"name": "openai", "base_url": url, "api_key_env": "", "timeout": 60, "patience": 600, **fields}


def tokens(url: str, shared: Path, **fields: Any) -> dict[str, Any]:
    return engine(url, form="tokens", served_as="m", weights_folder=str(shared), **fields)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTGYM_ALLOW_WEAK", "1")
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """model: nano before any training. tokenizer: it alone, as beside a model of Qwen2's family transformers would
    cut text in that family's way. shared: for weights."""
    found = {name: tmp_path_factory.mktemp(name) for name in ("model", "tokenizer", "shared", "runs", "logs")}
    nano.model(0).save_pretrained(found["model"])
    nano.tokenizer().save_pretrained(found["model"])
    nano.tokenizer().save_pretrained(found["tokenizer"])
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(folders: dict[str, Path]) -> AsyncIterator[VllmServer]:
    async with serving(folders["model"], folders["tokenizer"], folders["logs"] / "server.log") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trained(server: VllmServer, folders: dict[str, Path]) -> Path:
    """A run whose every token of reinforcement learning came from the server, which began as another model."""
    stages = {"cold_start": {"steps": COLD, "pool": 1024}, "rl": {"steps": 3}}
    sampled = tokens(server.url, folders["shared"], top_logprobs=5)
    fields = {"engine": sampled, "stages": stages, "output_dir": str(folders["runs"]), "eval_tasks": 8}
    path, _ = await run.train(settings(model="nano", **fields), Silent())  # type: ignore[arg-type]
    return path


@asynccontextmanager
async def playing(**fields: Any) -> AsyncIterator[tuple[Any, asyncio.Task[Any]]]:
    """The engine, and the evaluation that it is at: the likeliest tokens, so that nothing depends on chance."""
    chosen = settings(eval_temperature=0.0, concurrency=EPISODES, **fields)
    tasks = run.task_source(chosen).draw(EPISODES, random.Random("vllm"), "all")
    async with opening.open_policy(chosen) as (_, _, live, manager):
        yield live, asyncio.create_task(evaluate(manager(0.0), tasks, chosen.seed, 1))


def story(groups: list[Any]) -> list[Any]:
    return [[(turn.text, turn.reward, turn.outcome) for turn in group.turns] for group in groups]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def by_torch(trained: Path) -> list[Any]:
    async with playing(model=str(trained), engine="torch") as (_, evaluation):
        result, groups = await evaluation
    assert result.tool_calls > 0.2  # there is something to get wrong
    return story(groups)


async def test_it_keeps_every_promise_that_the_server_can_give(
    server: VllmServer, folders: dict[str, Path]
) -> None:
    given = build("engine", tokens(server.url, folders["shared"], top_logprobs=20))
    results = await check_engine(given, nano.model(1), nano.tokenizer())
    assert len(results) == 12
    assert [f"{result.name}: {result.detail}" for result in results if result.skipped or not result.ok] == []
    assert not list(folders["shared"].iterdir())


async def test_what_is_not_promised_is_skipped_with_its_reason(
    server: VllmServer, folders: dict[str, Path]
) -> None:
    model = nano.model(1)
    given = build("engine", tokens(server.url, folders["shared"])).start(model, nano.tokenizer())
    try:
        await given.begin(model)
    finally:
        await given.close()
    plain = build("engine", engine(server.url, form="tokens", served_as="m"))
    results = await check_engine(plain, model, nano.tokenizer())
    assert [f"{result.name}: {result.detail}" for result in results if not result.ok] == []
    reasons = [result.detail for result in results if result.skipped]
    assert ["top_logprobs" in reasons[0], "weights_folder" in reasons[1], len(reasons)] == [True, True, 2]


async def test_what_learns_is_what_the_server_samples_with(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row.get("stage") == "rl"]
    assert [row["staleness_max"] for row in steps] == [0] * 3
    assert max(abs(row["sampler_kl"]) for row in steps) < 1e-5
    lines = (trained / "rollouts" / f"step_{COLD + 3}.jsonl").read_text().splitlines()
    versions = {v for line in lines for turn in json.loads(line)["turns"] for v in turn["action"]["versions"]}
    assert versions == {COLD + 2}


async def test_episodes_are_those_of_engine_torch_and_cost_what_the_server_counted(
    server: VllmServer, folders: dict[str, Path], trained: Path, by_torch: list[Any]
) -> None:
    async with playing(model=str(trained), engine=tokens(server.url, folders["shared"])) as (live, evaluation):
        before = await server.counted()
        spent = live.spent.prompt_tokens, live.spent.completion_tokens
        _, groups = await evaluation
        after = await server.counted()
        used = live.spent.prompt_tokens - spent[0], live.spent.completion_tokens - spent[1]
    assert story(groups) == by_torch
    assert used == (after[0] - before[0], after[1] - before[1])


async def test_chat_succeeds_as_often(server: VllmServer, trained: Path, by_torch: list[Any]) -> None:
    """Of the weights that the server has by now. The text is the same and its tokens need not be, so that some
    episodes go another way."""
    async with playing(model="m", engine=engine(server.url, continues=True)) as (_, evaluation):
        result, _ = await evaluation
    success = sum(turns[-1][1] > 0 for turns in by_torch) / EPISODES
    assert abs(result.success - success) < 0.05
    assert result.errors == 0


async def test_a_faulty_way_to_the_server_changes_nothing_but_the_time(
    server: VllmServer, folders: dict[str, Path], trained: Path, by_torch: list[Any]
) -> None:
    async with faulty(server.url, 0.3, seed=1, hangs=4) as proxy:
        given = engine(proxy.url, form="tokens", served_as="m", timeout=30)
        async with playing(model=str(trained), engine=given) as (live, evaluation):
            before = await server.counted()
            _, groups = await evaluation
            after = await server.counted()
    assert story(groups) == by_torch
    assert set(proxy.met) == {*FAULTS, "hang"}
    used = live.spent.prompt_tokens, live.spent.completion_tokens
    assert used == (after[0] - before[0], after[1] - before[1])


async def test_a_server_that_is_killed_is_waited_for_and_given_the_weights_again(
    folders: dict[str, Path], trained: Path, by_torch: list[Any]
) -> None:
    """It comes back as the model that it was started with, which plays otherwise."""
    port, log = free_port(), folders["logs"] / "killed.log"
    async with serving(folders["model"], folders["tokenizer"], log, port) as server:
        given = tokens(server.url, folders["shared"])
        async with playing(model=str(trained), engine=given) as (live, evaluation):
            while live.spent.requests < EPISODES // 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await server.kill()
            assert not evaluation.done()
            async with serving(folders["model"], folders["tokenizer"], log, port):
                _, groups = await evaluation
    assert story(groups) == by_torch


async def test_weights_that_the_server_cannot_have_stop_the_run(
    server: VllmServer, folders: dict[str, Path]
) -> None:
    """Another shape of model, and a server of another run."""
    first, second = (
        build("engine", tokens(server.url, folders["shared"])).start(nano.model(seed), nano.tokenizer())
        for seed in (0, 1)
    )
    try:
        await first.begin(nano.model(0))
        await second.begin(nano.model(1))
        with pytest.raises(ConfigError, match="by another run"):
            await first.score([5, 6, 7])
    finally:
        await first.close()
        await second.close()
