"""verifiers' environments as ours, against verifiers' own loop with a scripted model."""

from __future__ import annotations

import importlib.util
import json
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentgym.check import check_env
from agentgym.config import build
from agentgym.env import Env
from agentgym.errors import EnvError, ToolTimeout
from agentgym.services import Services

if importlib.util.find_spec("verifiers") is None or importlib.util.find_spec("verifiers.envs") is None:
    pytest.skip(
        "needs verifiers below 0.3 (pip install 'verifiers<0.3'), which pulls mcp 1, openai and anthropic",
        allow_module_level=True,
    )

PROTOCOL = f"{Path(__file__).with_name('tool_json.py')}:ToolJson"
Making = Callable[..., Env]


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where verifiers finds `vf_tasks`, also from another process."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
async def making() -> AsyncIterator[Making]:
    async with Services() as services:
        made: list[Env] = []

        def make(kind: str, **fields: Any) -> Env:
            spec = {
                "name": "verifiers",
                "id": "vf_tasks",
                "arguments": {"kind": kind},
                "protocol": PROTOCOL,
                **fields,
            }
            made.append(build("env", spec).make(services))
            return made[-1]

        yield make
        for env in made:
            await env.close()


async def alone(kind: str, row: dict[str, Any], script: list[str]) -> tuple[float, list[str]]:
    """The reward of verifiers' own loop, with an OpenAI client that recites; and what the model was shown last."""
    import verifiers as vf
    from openai import AsyncOpenAI
    from verifiers.clients import OpenAIChatCompletionsClient

    answers, shown = iter(script), []

    def recite(request: httpx.Request) -> httpx.Response:
        messages = json.loads(request.content)["messages"]
        shown[:] = [message["content"] for message in messages if message["role"] != "assistant"]
        message: dict[str, Any] = {"role": "assistant", "content": next(answers)}
        if message["content"].startswith("{"):
            function = {"name": "multiply", "arguments": json.dumps(json.loads(message["content"])["arguments"])}
            message["tool_calls"] = [{"id": "call_0", "type": "function", "function": function}]
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = {"id": "x", "created": 0, "model": "m", "object": "chat.completion", "choices": [choice]}
        return httpx.Response(200, json=body)

    http = httpx.AsyncClient(transport=httpx.MockTransport(recite))
    client = AsyncOpenAI(api_key="none", base_url="http://model", http_client=http)
    env = vf.load_environment("vf_tasks", kind=kind)
    output = await env.run_rollout(row, OpenAIChatCompletionsClient(client), "m", {})
    await client.close()
    assert output["error"] is None, output["error"]
    return output["reward"], shown


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        ("single", ["{answer}"]),
        ("single", ["5"]),
        ("guessing", ["{answer}"]),
        ("guessing", ["1", "9", "{answer}"]),
        ("guessing", ["1", "9", "1", "9"]),
        ("tool", ['{"tool": "multiply", "arguments": {"a": 6, "b": 7}}', "{answer}"]),
        ("tool", ['{"tool": "multiply", "arguments": {"a": 6}}', "no idea"]),
        ("tool", ["{answer}"]),
    ],
)
async def test_it_pays_what_verifiers_pays(making: Making, kind: str, script: list[str]) -> None:
    env = making(kind)
    for task in env.config.source().draw(3, random.Random(0)):
        words = [word.replace("{answer}", task.answer) for word in script]
        opening, _ = await env.reset(options={"task": task})
        seen, total = [message["content"] for message in opening], 0.0
        for turn, word in enumerate(words, 1):
            got = await env.step(word)
            total += got.reward
            if not got.terminated:
                seen += [message["content"] for message in got.observation]
            assert got.terminated == (turn == len(words))
        reward, shown = await alone(kind, task.info["row"], words)
        assert total == pytest.approx(reward)
        assert seen == shown


async def test_tools_are_announced(making: Making) -> None:
    opening, _ = await making("tool").reset(seed=0)
    [tool] = opening[0]["tools"]
    assert (tool["function"]["name"], set(tool["function"]["parameters"]["properties"])) == (
        "multiply",
        {"a", "b"},
    )


async def test_what_breaks_or_hangs_is_the_machinery(making: Making) -> None:
    env = making("guessing", timeout=3.0)
    await env.reset(seed=0)
    with pytest.raises(EnvError, match="the lights went out"):
        await env.step("fail")
    await env.reset(seed=0)
    with pytest.raises(ToolTimeout, match=r"no answer within 3 s"):
        await env.step("hang")


async def test_it_keeps_the_promises_of_every_environment() -> None:
    fields = {"id": "vf_tasks", "demo": ["1", "{answer}"], "tasks": ""}
    results = await check_env(build("env", {"name": "verifiers", **fields}))
    assert [result for result in results if not result.ok] == []


async def test_signals_stay_ours(making: Making) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    await making("single", arguments={"kind": "single", "rows": 2}).reset(seed=0)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
