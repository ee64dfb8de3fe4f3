"""The maze: its rule, its dead ends, and a fork in the middle."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import Env
from agentgym.errors import ConfigError
from agentgym.services import Services
from agentgym.types import Outcome, Task

ROOMS = [{"sign": "", "way": "west"}, {"sign": "moon", "way": "east"}, {"sign": "", "way": "south"}]
TASK = Task("maze", "Find the way out.", "west east south", {"rooms": ROOMS, "doors": 3})


@pytest.fixture
async def begin() -> AsyncIterator[Callable[..., Any]]:
    async with Services() as services:

        async def begin(**fields: Any) -> Env:
            env: Env = build("env", {"name": "maze", **fields}).make(services)
            await env.reset(seed=0, options={"task": TASK})
            return env

        yield begin


async def walk(env: Env, *doors: str) -> list[Any]:
    return [await env.step(f"<go>{door}</go>") for door in doors]


async def test_the_right_doors_lead_out(begin):
    env = await begin()
    results = await walk(env, "west", "east", "south")
    assert [r.observation for r in results] == [
        "\nSign: moon. Doors: north, east, south.\n",
        "\nDoors: south.\n",
        "",
    ]
    assert [r.reward for r in results] == [0.0, 0.0, 1.0]
    assert results[-1].terminated
    assert results[-1].info == {"tool_calls": 3, "success": True, "outcome": Outcome.DONE}


async def test_a_wrong_door_shows_at_the_end_only(begin):
    results = await walk(await begin(reward_wrong=-1.0), "west", "north", "south")
    right = await walk(await begin(), "west", "east", "south")
    assert [r.observation for r in results] == [r.observation for r in right]
    assert (results[-1].reward, results[-1].info["success"]) == (-1.0, False)


async def test_walls_and_silence(begin):
    env = await begin(max_turns=3)
    results = await walk(env, "east", "up", "west")
    assert [r.observation for r in results[:2]] == ["\nDoors: west.\n"] * 2
    assert results[-1].truncated
    assert results[-1].info["outcome"] == Outcome.MAX_TURNS
    quiet = await (await begin()).step("I stay here.")
    assert (quiet.terminated, quiet.reward, quiet.info["tool_calls"]) == (True, 0.0, 0)


async def test_a_fork_goes_its_own_way(begin):
    env = await begin()
    await walk(env, "west")
    twin = await env.fork()
    lost, found = await walk(twin, "north", "south"), await walk(env, "east", "south")
    assert [lost[-1].reward, found[-1].reward] == [0.0, 1.0]
    assert found[-1].info["tool_calls"] == 3


def test_a_sign_means_the_same_door_everywhere():
    tasks = build("tasks", {"name": "mazes", "halls": 3, "doors": 3}).draw(300, random.Random(1))
    meaning = {(room["sign"], room["way"]) for task in tasks for room in task.info["rooms"] if room["sign"]}
    assert len(meaning) == len({sign for sign, _ in meaning}) == 8
    assert {way for _, way in meaning} == {"north", "east", "south"}


@pytest.mark.parametrize(
    ("table", "message"), [({"doors": 5}, "doors must be from 2 to 4"), ({"corridors": 0, "halls": 0}, "a room")]
)
def test_a_maze_that_is_none_is_refused(table, message):
    with pytest.raises(ConfigError, match=message):
        build("tasks", {"name": "mazes", **table})
