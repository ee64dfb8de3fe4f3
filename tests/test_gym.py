"""Environments as a library: make, make_vec, and Gymnasium's own checker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import agentgym
from agentgym.checks.leftovers import no_leftovers
from agentgym.config import names
from agentgym.errors import ConfigError
from agentgym.types import Task

agentgym.register_gymnasium()
TASK = Task("t", "What is 6 * 7?", "42")


def code(program: str) -> str:
    return f"<code>\n{program}\n</code>"


async def test_closing_the_environment_closes_its_services() -> None:
    async with no_leftovers():
        env = agentgym.make("retool")
        await env.reset(seed=0, options={"task": TASK})
        assert "1" in (await env.step(code("print(1)"))).observation
        await env.close()
        await env.close()


async def test_services_live_as_long_as_the_last_fork() -> None:
    async with no_leftovers():
        env = agentgym.make("retool")
        await env.reset(seed=0, options={"task": TASK})
        await env.step(code("x = 1"))
        twin = await env.fork()
        await env.close()
        result = await twin.step(code("print(x + 1)"))
        assert "\n2\n" in str(result.observation)
        await twin.close()


async def test_fields_configure_the_environment() -> None:
    env = agentgym.make("retool", max_turns=1)
    await env.reset(seed=0)
    assert (await env.step(code("print(1)"))).truncated
    await env.close()
    with pytest.raises(ConfigError, match="did you mean 'max_turns'"):
        agentgym.make("retool", max_turn=1)
    with pytest.raises(ConfigError, match="did you mean 'retool'"):
        agentgym.make("retol")


async def test_a_vector_plays_its_episodes_side_by_side() -> None:
    tasks = [Task(str(i), f"What is {i} * 7?", str(i * 7)) for i in range(3)]
    async with no_leftovers():
        vector = agentgym.make_vec("retool", 3)
        observations, infos = await vector.reset(seed=5, options=[{"task": task} for task in tasks])
        assert [(info["task"], info["seed"]) for info in infos] == [("0", 5), ("1", 6), ("2", 7)]
        assert all(f"What is {i} * 7?" in str(seen) for i, seen in enumerate(observations))
        step = await vector.step([code(f"x = {i}\nprint(x)") for i in range(3)])
        assert [str(seen).split()[1] for seen in step.observations] == ["0", "1", "2"]
        step = await vector.step([r"\boxed{0}", r"\boxed{8}", None])
        assert step.rewards == [1.0, 0.0, 0.0]
        assert step.terminations == [True, True, False]
        step = await vector.step([None, None, code("print(x)")])
        assert step.terminations == [True, True, False]
        assert "\n2\n" in str(step.observations[2])
        with pytest.raises(RuntimeError, match="after the episode ended"):
            await vector.step(["", None, None])
        await vector.close()


async def test_a_vector_steps_at_the_same_time(tmp_path: Any) -> None:
    plugin = tmp_path / "meeting.py"
    plugin.write_text(MEETING)
    vector = agentgym.make_vec(f"{plugin}:Meeting", 4)
    await vector.reset(seed=0)
    async with asyncio.timeout(30):  # each waits for all: one after the other would wait for ever
        assert (await vector.step(["hello"] * 4)).rewards == [1.0] * 4
    await vector.close()


MEETING = """
import asyncio
from dataclasses import dataclass
from agentgym.env import Env, StepResult
from agentgym.types import Task

@dataclass(frozen=True)
class Meeting:
    def make(self, services):
        return MeetingEnv(self, services)
    def source(self):
        return self
    def draw(self, n, rng, split="train"):
        return [Task("t", "hello", "hello")] * n

class MeetingEnv(Env):
    barrier = asyncio.Barrier(4)
    async def start(self, task, rng):
        return "hello"
    async def act(self, action):
        await self.barrier.wait()
        return StepResult("", 1.0, True, False, {})
"""


def make_sync(**fields: Any) -> Any:
    return gymnasium.make("agentgym/retool-v0", **fields)


def test_gymnasium_knows_every_environment() -> None:
    agentgym.register_gymnasium()
    registered = {name for name in gymnasium.registry if name.startswith("agentgym/")}
    assert registered == {f"agentgym/{name}-v0" for name in names("env")}


def test_gymnasiums_checker_has_no_complaint() -> None:
    env = make_sync()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()
    env.close()


async def test_the_synchronous_view_plays_an_episode_and_leaves_nothing() -> None:
    async with no_leftovers():
        env = make_sync(max_turns=3)
        seen, info = env.reset(seed=1, options={"task": TASK})
        assert seen.startswith("system: ")
        assert seen.endswith("\nuser: What is 6 * 7?")
        assert info["task"] == "t"
        seen, reward, terminated, truncated, info = env.step(code("print('é漢字🎲', 6 * 7)"))
        assert "é漢字🎲 42" in seen
        assert seen in env.observation_space
        assert (reward, terminated, truncated, info) == (0.0, False, False, {"tool_calls": 1})
        assert env.step(r"\boxed{42}")[1:3] == (1.0, True)
        env.close()


def test_seeds_fix_the_sequence_of_tasks() -> None:
    env = make_sync()
    runs = [[env.reset(seed=seed)[1], env.reset()[1], env.reset()[1]] for seed in (7, 7, 8)]
    env.close()
    assert runs[0] == runs[1] != runs[2]
    assert len({info["task"] for info in runs[0]}) == 3


def test_text_space_admits_every_string_and_samples_short_ones() -> None:
    space = agentgym.make("retool").observation_space
    assert "ünïcödé\n\t\x00🎲" in space
    assert "" in space
    assert "a" * 1_000_001 not in space
    assert b"bytes" not in space
    space.seed(0)
    assert all(len(sample) < 64 and sample in space for sample in (space.sample() for _ in range(50)))


def test_the_module_form_of_an_id_needs_no_other_line() -> None:
    program = "import gymnasium\ngymnasium.make('agentgym.gymnasium_env:agentgym/retool-v0').close()"
    subprocess.run([sys.executable, "-c", program], check=True)
