"""An environment's server, as a plain WebSocket client meets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agentgym.checks.leftovers import no_leftovers
from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.openenv.server import running
from agentgym.openenv.settings import ServeEnv
from agentgym.services import Services

ODD = f"{Path(__file__).with_name('odd_envs.py')}:Odd"
Serving = Callable[..., Any]


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """Starts servers, and gives the URL of each."""
    async with AsyncExitStack() as stack:

        async def start(env: Any = ODD, **settings: Any) -> str:
            url: str = await stack.enter_async_context(running(ServeEnv(env=env, port=0, **settings)))
            return url

        yield start


def talk(url: str, **options: Any) -> connect:
    return connect(url.replace("http", "ws", 1) + "/ws", **options)


async def ask(client: ClientConnection, kind: str, data: Any = None) -> Any:
    """The answer to a frame: its data, or a code and message."""
    await client.send(json.dumps({"type": kind} if data is None else {"type": kind, "data": data}))
    return await hear(client)


async def hear(client: ClientConnection) -> Any:
    answer = json.loads(await asyncio.wait_for(client.recv(), 20))
    data = answer["data"]
    return (data["code"], data["message"]) if answer["type"] == "error" else data


async def said(log: Path, *lines: str) -> None:
    """Wait until the log ends like this."""
    async with asyncio.timeout(20):
        while tuple(lines_of(log)[-len(lines) :]) != lines:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def lines_of(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


async def test_an_episode_in_frames(serving: Serving) -> None:
    async with talk(await serving()) as client:
        begun = await ask(client, "reset", {"seed": 7, "episode_id": "mine", "unknown": 1})
        assert (begun["reward"], begun["done"], begun["observation"]["metadata"]) == (None, False, {"seed": 7})
        assert begun["observation"]["prompt"].startswith("Be odd.\n\nSeed ")
        assert [message["role"] for message in begun["observation"]["messages"]] == ["system", "user"]
        step = await ask(client, "step", {"message": "hello", "metadata": {}})
        assert (step["observation"]["prompt"], step["observation"]["messages"]) == ("hello", [])
        assert (step["reward"], step["done"]) == (0.0, False)
        assert await ask(client, "state") == {"episode_id": "mine", "step_count": 1}
        won = await ask(client, "step", {"message": "win"})
        assert (won["reward"], won["done"], won["observation"]["metadata"]["truncated"]) == (1.0, True, False)
        code, text = await ask(client, "step", {"message": "more"})
        assert code == "EXECUTION_ERROR"
        assert "the episode has ended" in text
        await ask(client, "reset")
        stopped = await ask(client, "step", {"message": "stop"})
        assert (stopped["done"], stopped["observation"]["metadata"]["truncated"]) == (True, True)
        await client.send('{"type": "close"}')
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 20)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "INVALID_JSON"),
        ("[" * 100_000, "INVALID_JSON"),
        ("7", "UNKNOWN_TYPE"),
        ('{"type": "mcp"}', "UNKNOWN_TYPE"),
        ('{"type": "step"}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"text": "hello"}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"message": 7}}', "VALIDATION_ERROR"),
        ('{"type": "reset", "data": {"seed": -1}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"message": "too early"}}', "EXECUTION_ERROR"),
    ],
)
async def test_a_bad_frame_is_refused_and_the_connection_goes_on(serving: Serving, frame: str, code: str) -> None:
    async with talk(await serving()) as client:
        await client.send(frame)
        assert (await hear(client))[0] == code
        assert (await ask(client, "reset"))["done"] is False


async def test_64_clients_at_once_play_what_they_would_play_here(serving: Serving) -> None:
    url = await serving("maze", max_connections=64)
    moves = ("east", "north", "west", "south") * 8
    everybody = asyncio.Barrier(64)

    async def there(seed: int) -> list[Any]:
        async with talk(url) as client:
            seen = [(await ask(client, "reset", {"seed": seed}))["observation"]["prompt"]]
            await everybody.wait()
            for move in moves:
                got = await ask(client, "step", {"message": f"<go>{move}</go>"})
                seen += [got["observation"]["prompt"], got["reward"], got["done"]]
                if got["done"]:
                    return seen
            return seen

    async def here(seed: int) -> list[Any]:
        async with Services() as services:
            env = build("env", "maze").make(services)
            seen: list[Any] = [(await env.reset(seed=seed))[0]]
            for move in moves:
                got = await env.step(f"<go>{move}</go>")
                seen += [got.observation, got.reward, got.terminated or got.truncated]
                if seen[-1]:
                    return seen
            return seen

    async with asyncio.timeout(60):
        played = await asyncio.gather(*(there(seed) for seed in range(64)))
    assert played == [await here(seed) for seed in range(64)]


async def test_a_client_more_than_allowed_is_sent_away_until_one_leaves(serving: Serving) -> None:
    url = await serving(max_connections=1)
    async with talk(url) as first:
        await ask(first, "reset")
        async with talk(url) as second:
            answer = json.loads(await asyncio.wait_for(second.recv(), 20))["data"]
            assert answer["code"] == "CAPACITY_REACHED"
            assert (answer["active_sessions"], answer["max_sessions"]) == (1, 1)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(second.recv(), 20)
        assert (await ask(first, "step", {"message": "hello"}))["observation"]["prompt"] == "hello"
        await first.send('{"type": "close"}')
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(first.recv(), 20)
    async with talk(url) as third:
        assert "observation" in await ask(third, "reset")


async def test_who_hangs_up_in_the_middle_of_a_step_ends_it(serving: Serving, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with talk(await serving({"name": ODD, "log": str(log)})) as client:
        await ask(client, "reset")
        await client.send('{"type": "step", "data": {"message": "hang"}}')
        await said(log, "start", "hang")
        client.transport.abort()
        await said(log, "hang", "release")
    assert log.read_text().split()[-1] == "release"


async def test_a_step_over_the_deadline_loses_the_episode_and_no_more(serving: Serving, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with talk(await serving({"name": ODD, "log": str(log)}, max_timeout=2.0)) as client:
        await ask(client, "reset")
        code, text = await ask(client, "step", {"message": "hang"})
        assert code == "EXECUTION_ERROR"
        assert "no answer from the environment within 2 s" in text
        await said(log, "hang", "release")
        assert (await ask(client, "step", {"message": "hello"}))[0] == "EXECUTION_ERROR"
        await ask(client, "reset")
        assert (await ask(client, "step", {"message": "hello"}))["observation"]["prompt"] == "hello"


async def test_a_failure_of_the_machinery_is_an_error_and_not_a_reward(serving: Serving) -> None:
    async with talk(await serving()) as client:
        await ask(client, "reset")
        code, text = await ask(client, "step", {"message": "fail"})
        assert (code, text) == ("EXECUTION_ERROR", "the environment failed: SandboxError: the lights went out")


async def test_a_silent_client_is_told_and_sent_away(serving: Serving, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with talk(await serving({"name": ODD, "log": str(log)}, max_idle=2.0)) as client:
        await ask(client, "reset")
        code, text = await hear(client)
        assert code == "SESSION_ERROR"
        assert "not a word for 2 s" in text
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 20)
    await said(log, "start", "release")


async def test_who_does_not_wait_for_answers_is_sent_away(serving: Serving) -> None:
    async with talk(await serving()) as client:
        await ask(client, "reset")
        for _ in range(40):
            await client.send('{"type": "step", "data": {"message": "hang"}}')
        assert (await hear(client))[0] == "SESSION_ERROR"


async def test_only_who_shows_the_token_plays(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTGYM_TOKEN", "sesame")
    url = await serving()
    for headers in ({}, {"Authorization": "Bearer simsim"}, {"Authorization": "Basic !"}):
        with pytest.raises(InvalidStatus, match="401"):
            await talk(url, additional_headers=headers)
    async with talk(url, additional_headers={"Authorization": "Bearer sesame"}) as client:
        assert "observation" in await ask(client, "reset")
    async with talk(url.replace("http://", "http://any:sesame@")) as client:
        assert "observation" in await ask(client, "reset")
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/health")).json() == {"status": "healthy"}
        assert (await http.get("/schema")).status_code == 401


async def test_it_says_what_it_serves(serving: Serving) -> None:
    async with httpx.AsyncClient(base_url=await serving("maze")) as http:
        assert (await http.get("/schema")).json()["action"]["required"] == ["message"]
        about = (await http.get("/metadata")).json()
    assert about["name"] == "Maze"
    assert about["description"].startswith("Walk through rooms")


async def test_a_server_that_stops_ends_its_episodes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with no_leftovers():
        async with running(ServeEnv(env={"name": ODD, "log": str(log)}, port=0)) as url:
            client = await talk(url)
            await ask(client, "reset")
            await client.send('{"type": "step", "data": {"message": "hang"}}')
            await said(log, "start", "hang")
        assert lines_of(log)[-1] == "release"
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 20)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="env is needed"):
        ServeEnv()
    with pytest.raises(ValueError, match="max_idle must be above 0"):
        ServeEnv(env="maze", max_idle=0)
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        ServeEnv(env="maze", host="0.0.0.0").listen()
