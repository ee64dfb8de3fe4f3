"""Environments `think` and `delethink`: what is paid for, and what is said of settings that do not fit."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import TRAITS, Env, trait
from agentgym.envs.tasks.source import task_source
from agentgym.envs.think import ThinkEnv
from agentgym.errors import ConfigError
from agentgym.opening import env_for
from agentgym.run import resolve_settings
from agentgym.services import Services
from agentgym.types import Outcome, Task

TASK = Task("t", "What is one half of 3?", "1.5")


@pytest.fixture
async def begin() -> AsyncIterator[Callable[..., Any]]:
    async with Services() as services:

        async def begin(task: Task = TASK, **fields: Any) -> Env:
            env: Env = build("env", {"name": "think", **fields}).make(services)
            await env.reset(seed=0, options={"task": task})
            return env

        yield begin


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        (r"so \boxed{3/2}", "3/2", True),
        (r"\boxed{9} no, \boxed{1.5}", "1.5", True),
        (r"\boxed{1.5} no, \boxed{9}", "9", False),
        (r"1.5", None, False),
        ("", None, False),
        (r"\boxed{1.5", None, False),
    ],
)
async def test_the_last_box_is_the_answer(begin: Any, said: str, answer: str | None, right: bool) -> None:
    env = await begin(reward_right=2.0, reward_wrong=-1.0)
    result = await env.step(said)
    assert (result.reward, result.terminated) == (2.0 if right else -1.0, True)
    assert result.info == {"success": right, "answer": answer, "outcome": Outcome.DONE}


async def test_a_prompt_for_models_that_follow_instructions_says_how_to_answer(begin: Any) -> None:
    env = await begin(prompt="instruct")
    opened, _ = await env.reset(seed=0, options={"task": TASK})
    assert [message["role"] for message in opened] == ["system", "user"]
    assert r"\boxed{}" in opened[0]["content"]
    assert opened[1]["content"] == TASK.prompt


async def test_demonstrated_thoughts_are_right_but_for_their_slips(begin: Any) -> None:
    wins = {0.0: 0, 0.5: 0}
    for rate in wins:
        for seed, task in enumerate(task_source("sums").draw(40, random.Random(1))):
            env = await begin(task, demo_error_rate=rate)
            wins[rate] += (await env.step(next(env.demonstrate(random.Random(seed))))).info["success"]
    assert wins[0.0] == 40
    assert wins[0.5] < 20
    other = await begin()
    with pytest.raises(NotImplementedError, match="task 't' does not say how"):
        other.demonstrate(random.Random(0))


async def test_what_is_inside_is_played_as_ever() -> None:
    inner = {"name": "maze", "max_turns": 3, "tasks": {"name": "mazes", "halls": 1}}
    config = build("env", {"name": "delethink", "inner": inner})
    assert config.source() == build("env", inner).source()
    async with Services() as services:
        env = config.make(services)
        _, facts = await env.reset(seed=4)
        plain = build("env", inner).make(services)
        await plain.reset(seed=4)
        assert facts["task"] == plain.task.id
        assert await env.step("<go>north</go>") == await plain.step("<go>north</go>")
        twin = await env.fork()
        assert await twin.step("<go>east</go>") == await env.step("<go>east</go>")


def test_tasks_alone_are_questions_to_think_about() -> None:
    settings = resolve_settings(
        {"env": {"inner": {"tasks": {"name": "sums", "base": 2}}}, "recipe": "delethink"}, []
    )
    env = build("env", settings.env)
    assert env.inner["name"] == "think"
    assert {task.answer for task in env.source().draw(20, random.Random(0))} == {"0", "1"}
    assert env.inside().demo_error_rate == 0.02, "the recipe's, and not lost"


def test_the_built_in_policy_is_told_nothing() -> None:
    from agentgym.models import nano

    settings = resolve_settings({"recipe": "delethink"}, [])
    env: Any = env_for(settings, nano.model(0))
    assert env.inside().prompt == "plain"
    assert isinstance(env.make(Services()), ThinkEnv)
    kept = build("env", {"name": "delethink", "inner": {"prompt": "instruct"}, "prompt": "plain"})
    assert kept.inside().prompt == "instruct"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"carry": 48}, "carry must be below the size of a chunk"),
        ({"head": 17}, "head must be from 0 to carry"),
        ({"rounds": 0}, "count must be at least 1"),
        ({"inner": "thinc"}, "think"),
        ({"inner": {"taks": "sums"}}, "tasks"),
        ({"chunks": 3}, "chunk"),
    ],
)
def test_settings_that_do_not_fit(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build("env", {"name": "delethink", **fields})


@pytest.mark.parametrize("inner", ["retool", "search", "memory", "sql", "maze"])
def test_what_else_is_asked_of_an_environment_is_answered_for_the_one_inside(inner: str) -> None:
    inside, around = build("env", inner), build("env", {"name": "delethink", "inner": {"name": inner}})
    for name in TRAITS.keys() - {"chunks", "prompt", "shows"}:
        assert trait(around, name) == trait(inside, name), name
    assert trait(around, "shows")() == trait(inside, "shows")()
    assert pickle.loads(pickle.dumps(around)) == copy.deepcopy(around) == around


def test_agents_and_sandbox_of_the_environment_inside_are_checked_before_anything_starts() -> None:
    memory = {"env": {"name": "delethink", "inner": "memory"}, "recipe": "grpo"}
    resolve_settings({**memory, "partners": {"manager": "nano-memory"}}, [])
    with pytest.raises(ConfigError, match="has no agent 'manger': did you mean 'manager'"):
        resolve_settings({**memory, "partners": {"manger": "nano-memory"}}, [])
    with pytest.raises(ConfigError, match="unknown sandbox 'locl'"):
        resolve_settings({"env": {"name": "delethink", "inner": {"name": "retool", "sandbox": "locl"}}}, [])
