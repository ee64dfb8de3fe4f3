"""An OpenEnv server as an environment: our own server, one made with OpenEnv's SDK, and ones that misbehave."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers

from agentgym.check import check_env
from agentgym.checks.leftovers import no_leftovers
from agentgym.config import build
from agentgym.env import Env
from agentgym.errors import ConfigError, EnvError, ToolTimeout
from agentgym.openenv.server import running
from agentgym.openenv.settings import ServeEnv
from agentgym.rollout.failures import classify
from agentgym.services import Services
from agentgym.types import Outcome, Task

ODD = f"{Path(__file__).parents[1] / 'openenv' / 'odd_envs.py'}:Odd"
SEVEN = Task("seed 7", "", "", {"seed": 7})
Making = Callable[..., Env]
has_openenv = pytest.mark.skipif(
    importlib.util.find_spec("openenv") is None,
    reason="needs openenv-core (pip install openenv-core==0.3.0), which pulls gradio, fastmcp and openai",
)


@pytest.fixture
async def making() -> AsyncIterator[Making]:
    """Makes environments, and closes them."""
    async with Services() as services, AsyncExitStack() as stack:

        def make(url: str, **fields: Any) -> Env:
            env: Env = build("env", {"name": "openenv", "url": url, **fields}).make(services)
            stack.push_async_callback(env.close)
            return env

        yield make


@asynccontextmanager
async def program(*words: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server in a process of its own, which prints its port first."""
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip().rpartition(":")[2]
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def scripted(*answers: Any, fields: tuple[str, ...] = ("message",)) -> AsyncIterator[tuple[str, list[Any]]]:
    """A server that answers the frames of a connection like this, hangs up, and keeps what it got."""
    got: list[Any] = []

    async def play(client: ServerConnection) -> None:
        for answer in answers:
            got.append(json.loads(await client.recv()))
            if answer is None:
                await client.wait_closed()
                return
            await client.send(answer if isinstance(answer, str) else json.dumps(answer))

    def schema(client: ServerConnection, request: Request) -> Response | None:
        body = json.dumps({"action": {"properties": {field: {} for field in fields}}}).encode()
        return Response(200, "OK", Headers(), body) if request.path == "/schema" else None

    async with serve(play, "127.0.0.1", 0, process_request=schema) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", got


def shows(prompt: Any, reward: float | None = None, done: bool = False, **observation: Any) -> Any:
    data = {"observation": {"prompt": prompt, **observation}, "reward": reward, "done": done}
    return {"type": "observation", "data": data}


async def test_a_maze_on_a_server_is_the_maze_here(making: Making) -> None:
    moves = ("east", "north", "west", "south") * 4
    async with running(ServeEnv(env="maze", port=0)) as url, Services() as services:
        for seed in range(6):
            there, here = making(url), build("env", "maze").make(services)
            seen, _ = await there.reset(options={"task": Task("t", "", "", {"seed": seed})})
            expected, _ = await here.reset(seed=seed)
            assert seen == [{"role": "user", "content": expected}]
            for move in moves:
                got, want = [await env.step(f"<go>{move}</go>") for env in (there, here)]
                assert got[1:4] == want[1:4]
                assert got.observation == [{"role": "user", "content": want.observation}]
                if got.terminated or got.truncated:
                    assert got.info["success"] is want.info["success"]
                    assert got.info["outcome"] == want.info["outcome"]
                    break
            await there.close()


async def test_a_limit_on_the_server_truncates(making: Making) -> None:
    async with running(ServeEnv(env=ODD, port=0)) as url:
        env = making(url)
        await env.reset(options={"task": SEVEN})
        got = await env.step("stop")
        assert (got.terminated, got.truncated, got.info["outcome"]) == (False, True, Outcome.MAX_TURNS)


async def test_a_failure_over_there_is_none_of_the_policy(making: Making) -> None:
    async with running(ServeEnv(env=ODD, port=0)) as url:
        env = making(url)
        await env.reset(options={"task": SEVEN})
        with pytest.raises(EnvError, match="the lights went out") as failed:
            await env.step("fail")
        assert classify(failed.value) is Outcome.ENV_ERROR


async def test_a_slow_step_is_a_timeout_and_its_late_answer_is_not_taken_for_the_next(making: Making) -> None:
    async with scripted(shows("begin"), None) as (url, _):
        env = making(url, timeout=2.0)
        await env.reset(options={"task": SEVEN})
        with pytest.raises(ToolTimeout, match=r"gave no answer to step within 2 s") as failed:
            await env.step("hello")
        assert classify(failed.value) is Outcome.TOOL_TIMEOUT
        with pytest.raises(EnvError, match="gave no answer"):
            await env.step("hello again")


async def test_a_server_that_dies_ends_the_episode_as_an_error_of_the_machinery(making: Making) -> None:
    script = (
        "import asyncio\nfrom agentgym.openenv.server import serve\n"
        "from agentgym.openenv.settings import ServeEnv\n"
        f"asyncio.run(serve(ServeEnv(env={ODD!r}, port=0), lambda text: print(text, flush=True)))"
    )
    async with program("-c", script) as (process, url):
        env = making(url)
        await env.reset(options={"task": SEVEN})
        assert (await env.step("hello")).reward == 0.0
        process.send_signal(signal.SIGKILL)
        with pytest.raises(EnvError, match="the episode is lost"):
            await env.step("hello")
        with pytest.raises(EnvError, match="cannot be connected to"):
            await env.reset(options={"task": SEVEN})


async def test_who_finds_the_server_full_waits_for_room(making: Making) -> None:
    async with running(ServeEnv(env=ODD, port=0, max_connections=1)) as url:
        first, second = making(url), making(url)
        await first.reset(options={"task": SEVEN})
        waiting = asyncio.create_task(second.reset(options={"task": SEVEN}))
        await asyncio.wait({waiting}, timeout=0.3)
        assert not waiting.done()
        await first.close()
        await asyncio.wait_for(waiting, 20)
        hurried = making(url, timeout=2.0)
        with pytest.raises(EnvError, match="the most this server allows"):
            await hurried.reset(options={"task": SEVEN})


async def test_64_episodes_at_once(making: Making) -> None:
    async with running(ServeEnv(env=ODD, port=0)) as url:
        envs = [making(url) for _ in range(64)]
        tasks = [Task(str(seed), "", "", {"seed": seed}) for seed in range(64)]
        await asyncio.gather(*(env.reset(options={"task": task}) for env, task in zip(envs, tasks, strict=True)))
        for turn in range(3):
            words = [f"{turn} of {i}" for i in range(64)]
            results = await asyncio.gather(*(env.step(word) for env, word in zip(envs, words, strict=True)))
            assert [result.observation[0]["content"] for result in results] == words


async def test_the_policy_is_told_of_an_action_that_does_not_fit(making: Making) -> None:
    unfit = {
        "type": "error",
        "data": {"code": "VALIDATION_ERROR", "message": "Invalid message", "errors": ["x: int"]},
    }
    async with scripted(shows("begin"), unfit, shows("5", 1.0, True), fields=("x",)) as (url, got):
        env = making(url, action="", observation="", max_turns=9)
        assert (await env.reset(options={"task": SEVEN}))[0] == [
            {"role": "user", "content": '{"prompt": "begin"}'}
        ]
        for said, told in (
            ("no JSON", "That is no action: Expecting value"),
            ("[" * 100_000, "nested"),
            (f'{{"x": {"9" * 5000}}}', "too many digits"),
            ('{"x": "a"}', '["x: int"]'),
        ):
            result = await env.step(said)
            assert told in str(result.observation)
            assert (result.reward, result.terminated) == (0.0, False)
        result = await env.step('{"x": 5}')
        assert (result.reward, result.terminated, result.info["success"]) == (1.0, True, True)
        assert [frame["data"] for frame in got] == [{"seed": 7}, {"x": "a"}, {"x": 5}]


async def test_only_the_field_asked_for_is_shown_and_no_metadata(making: Making) -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    answers = shows("secret", metadata={"answer": 42}, messages=messages), shows("", metadata={"answer": 42})
    async with scripted(*answers) as (url, _):
        env = making(url, observation="messages")
        begun, _ = await env.reset(options={"task": Task("t", "Be brief.", "", {})})
        assert begun == [{"role": "user", "content": "Be brief.\n\none\n\ntwo"}]
    async with scripted(shows("x", metadata={"answer": 42})) as (url, _):
        begun, _ = await making(url, observation="").reset(options={"task": SEVEN})
        assert "42" not in str(begun)


@pytest.mark.parametrize("nonsense", ["no JSON", "[]", '{"type": "observation", "data": {}}', '{"type": "state"}'])
async def test_nonsense_from_the_server_is_an_error_of_the_machinery(making: Making, nonsense: str) -> None:
    async with scripted(shows("begin"), nonsense) as (url, _):
        env = making(url)
        await env.reset(options={"task": SEVEN})
        with pytest.raises(EnvError, match="does not speak OpenEnv's protocol"):
            await env.step("hello")


async def test_wrong_settings_are_named(making: Making) -> None:
    async with scripted(shows("begin"), fields=("message", "metadata")) as (url, _):
        with pytest.raises(ConfigError, match="did you mean 'message'"):
            await making(url, action="messages").reset(options={"task": SEVEN})
        with pytest.raises(ConfigError, match="did you mean 'prompt'"):
            await making(url, observation="promt").reset(options={"task": SEVEN})
    with pytest.raises(EnvError, match=r"no OpenEnv server at http://127\.0\.0\.1:9"):
        await making("ws://127.0.0.1:9").reset(options={"task": SEVEN})
    with pytest.raises(ConfigError, match="url must begin with"):
        making("127.0.0.1:9")


async def test_the_token_goes_to_the_server_only_when_it_is_named(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTGYM_TOKEN", "sesame")
    async with running(ServeEnv(env=ODD, port=0)) as url:
        with pytest.raises(EnvError, match="401"):
            await making(url).reset(options={"task": SEVEN})
        await making(url, token_env="AGENTGYM_TOKEN").reset(options={"task": SEVEN})


async def test_it_keeps_the_promises_of_every_environment() -> None:
    async with running(ServeEnv(env="maze", port=0)) as url:
        demo = ["<go>east</go>", "<go>north</go>", "<go>south</go>", "<go>west</go>"] * 4
        tasks = {"name": "seeds", "count": 40}
        config = build("env", {"name": "openenv", "url": url, "max_turns": 16, "demo": demo, "tasks": tasks})
        results = await check_env(config)
        assert [result for result in results if not result.ok and result.name != "oracle beats silence"] == []


@has_openenv
async def test_a_server_made_with_openenvs_sdk(making: Making) -> None:
    async with program(str(Path(__file__).with_name("openenv_echo.py"))) as (_, url), no_leftovers():
        env = making(url, observation="echo")
        begun, _ = await env.reset(options={"task": SEVEN})
        assert begun == [{"role": "user", "content": "Say something 7 long"}]
        got = await env.step("seven..")
        assert (got.observation, got.reward, got.terminated) == (
            [{"role": "user", "content": "seven.."}],
            1.0,
            False,
        )
        twin = await env.fork()
        for world in (env, twin):
            got = await world.step("bye")
            assert (got.reward, got.terminated, got.info["success"]) == (0.0, True, True)
            await world.close()
        with pytest.raises(ConfigError, match="did you mean 'message'"):
            await making(url, action="mesage").reset(options={"task": SEVEN})
        as_json = making(url, action="", observation="")
        await as_json.reset(options={"task": SEVEN})
        assert "Field required" in str((await as_json.step("{}")).observation)
        await as_json.close()


@has_openenv
async def test_openenvs_own_client_plays_on_our_server() -> None:
    from openenv.core.generic_client import GenericEnvClient  # type: ignore[import-not-found, unused-ignore]

    async with running(ServeEnv(env="maze", port=0, token="sesame")) as url, Services() as services:
        here = build("env", "maze").make(services)
        expected, _ = await here.reset(seed=3)
        async with GenericEnvClient(base_url=url.replace("//", "//any:sesame@")) as client:
            assert (await client.reset(seed=3)).observation["prompt"] == expected
            for move in ("east", "north", "west", "south") * 4:
                got, want = await client.step({"message": f"<go>{move}</go>"}), await here.step(f"<go>{move}</go>")
                assert (got.observation["prompt"], got.reward) == (want.observation, want.reward)
                assert got.done == (want.terminated or want.truncated)
                if got.done:
                    break
            assert (await client.state())["step_count"] > 0
            with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
                await client.step({"text": "hello"})
