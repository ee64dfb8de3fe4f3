"""Gymnasium's environments as ours, against Gymnasium's own loop."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from agentgym.check import check_env
from agentgym.config import build
from agentgym.env import Env
from agentgym.errors import ConfigError, EnvError, ToolTimeout
from agentgym.services import Services
from agentgym.types import Outcome, Task

NAMES = ["left", "down", "right", "up"]
DRY = {"is_slippery": False}
OUT = ["down", "down", "right", "right", "down", "right"]
"""The way over the 4x4 lake."""
Making = Callable[..., Env]


class Parrot(gymnasium.Env[str, str]):
    """Repeats; hangs, breaks, or pays for "win"."""

    observation_space = spaces.Text(100)
    action_space = spaces.Text(100, charset="abcdefghijklmnopqrstuvwxyz ")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        return "begin", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        while action == "hang":
            time.sleep(0.01)
        if action == "fail":
            raise OSError("the lights went out")
        return action, float(action == "win"), action == "win", action == "stop", {}


class Odd(gymnasium.Env[Any, Any]):
    """Has the spaces it is told to have."""

    def __init__(self, seen: Any, done: Any) -> None:
        self.observation_space, self.action_space = seen, done

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {"action": action}


gymnasium.register("agentgym-tests/Parrot-v0", Parrot)
gymnasium.register("agentgym-tests/Odd-v0", Odd)


@pytest.fixture
async def making() -> AsyncIterator[Making]:
    async with Services() as services:
        made: list[Env] = []

        def make(id: str, **fields: Any) -> Env:
            made.append(build("env", {"name": "gymnasium", "id": id, **fields}).make(services))
            return made[-1]

        yield make
        for env in made:
            await env.close()


def act(word: Any) -> str:
    return f"I think so. <action>{word}</action>"


def seeded(seed: int) -> dict[str, Any]:
    return {"task": Task(f"seed {seed}", "", "", {"seed": seed})}


@pytest.mark.parametrize("slippery", [False, True])
async def test_a_frozen_lake_is_gymnasiums_frozen_lake(making: Making, slippery: bool) -> None:
    ours = making("FrozenLake-v1", arguments={"is_slippery": slippery}, max_turns=50)
    theirs = gymnasium.make("FrozenLake-v1", is_slippery=slippery)
    rng, returns = random.Random(0), set()
    for seed in range(30):
        opening, _ = await ours.reset(options=seeded(seed))
        seen, _ = theirs.reset(seed=seed)
        assert opening[0]["content"].endswith(f"\n\n{seen}")
        total = 0.0
        for turn in range(50):
            move = [1, 1, 2, 2, 1, 2][turn % 6] if seed % 2 else rng.randrange(4)
            got, want = await ours.step(act(move)), theirs.step(move)
            total += want[1]
            assert (got.observation[0]["content"], *got[1:3]) == (str(want[0]), *want[1:3])
            if got.terminated:
                break
        assert got.info["success"] == (total == 1.0)
        returns.add(total)
    assert returns == {0.0, 1.0}


async def test_a_fork_goes_its_own_way_with_the_same_luck(making: Making) -> None:
    env = making("FrozenLake-v1")
    await env.reset(options=seeded(3))
    await env.step(act(1))
    twin = await env.fork()
    other = await env.fork()
    assert [await env.step(act(1)) for _ in range(2)] == [await twin.step(act(1)) for _ in range(2)]
    assert await other.step(act(0)) is not None
    for fork in (twin, other):
        await fork.close()


async def test_it_keeps_the_promises_of_every_environment() -> None:
    demo = [act(word) for word in OUT]
    fields = {"id": "FrozenLake-v1", "arguments": DRY, "actions": NAMES, "demo": demo}
    results = await check_env(build("env", {"name": "gymnasium", **fields}))
    assert [result for result in results if not result.ok] == []


async def test_without_a_demonstrator_the_checks_say_so() -> None:
    results = await check_env(build("env", {"name": "gymnasium", "id": "FrozenLake-v1"}))
    failed = {result.name: result.detail for result in results if not result.ok}
    assert set(failed) == {"same seed same episode", "episodes end", "oracle beats silence"}
    assert all("has no demonstrator" in detail for detail in failed.values())


async def test_what_is_no_action_costs_a_turn_and_is_told(making: Making) -> None:
    env = making("FrozenLake-v1", arguments=DRY, actions=NAMES, max_turns=3)
    opening, _ = await env.reset(options=seeded(0))
    assert "one of left, down, right, up" in opening[0]["content"]
    for said in ("down", act("dwon")):
        result = await env.step(said)
        assert "That is no action" in result.observation[0]["content"]
        assert result[1:4] == (0.0, False, False)
    result = await env.step(act("down"))
    assert result.observation == [{"role": "user", "content": "4"}]
    assert (result.truncated, result.info["outcome"]) == (True, Outcome.MAX_TURNS)


async def test_text_in_and_text_out(making: Making) -> None:
    env = making("agentgym-tests/Parrot-v0", instructions="Talk.")
    opening, _ = await env.reset(options=seeded(0))
    assert opening[0]["content"] == "Talk.\n\nAct by writing <action>text</action>.\n\nbegin"
    assert (await env.step(act("hello"))).observation == [{"role": "user", "content": "hello"}]
    assert "is not in" in (await env.step(act("Umläute"))).observation[0]["content"]
    result = await env.step(act("win"))
    assert (result.reward, result.terminated, result.info["success"]) == (1.0, True, True)


async def test_what_breaks_or_hangs_is_the_machinery(making: Making) -> None:
    env = making("agentgym-tests/Parrot-v0", timeout=0.3)
    await env.reset(options=seeded(0))
    with pytest.raises(EnvError, match="the lights went out"):
        await env.step(act("fail"))
    await env.reset(options=seeded(0))
    with pytest.raises(ToolTimeout, match=r"no answer within 0\.3 s"):
        await asyncio.wait_for(env.step(act("hang")), 20)
    await env.reset(options=seeded(0))
    assert (await env.step(act("stop"))).truncated


async def test_arrays_are_written_as_json(making: Making) -> None:
    seen = spaces.Dict(
        {"at": spaces.Box(0, 1, (2,)), "of": spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary(2)])}
    )
    done = spaces.MultiDiscrete([3, 4])
    env = making("agentgym-tests/Odd-v0", arguments={"seen": seen, "done": done}, max_turns=20)
    opening, _ = await env.reset(options=seeded(0))
    shown = opening[0]["content"].rpartition("\n\n")[2]
    assert set(json.loads(shown)) == {"at", "of"}
    assert "That is no action" not in str((await env.step(act("[2, 3]"))).observation)
    for wrong in ("[3, 0]", "[1]", "no", "[1, 2", '{"x": 1}', f"[{'9' * 20}, 0]", "[" * 100_000, '[1, "a"]'):
        assert "That is no action" in str((await env.step(act(wrong))).observation)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"id": "FrozenLak-v1"}, "FrozenLake"),
        ({"id": "FrozenLake-v1", "arguments": {"slippery": True}}, "slippery"),
        ({"id": "FrozenLake-v1", "actions": ["left"]}, "1 names of actions"),
        (
            {
                "id": "agentgym-tests/Odd-v0",
                "arguments": {"seen": spaces.Box(0, 255, (64, 64), np.uint8), "done": spaces.Discrete(2)},
            },
            "its observations",
        ),
        (
            {
                "id": "agentgym-tests/Odd-v0",
                "arguments": {"seen": spaces.Discrete(2), "done": spaces.Sequence(spaces.Discrete(2))},
            },
            "its actions",
        ),
    ],
)
async def test_what_cannot_be_is_refused(making: Making, fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        await making(**fields).reset(options=seeded(0))
