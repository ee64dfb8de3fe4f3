"""Reasoning Gym's tasks as an environment, against Reasoning Gym's own scores."""

from __future__ import annotations

import random
from typing import Any

import pytest

from agentgym.check import check_env
from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.services import Services

reasoning_gym = pytest.importorskip("reasoning_gym", reason="needs Reasoning Gym: the extra reasoning-gym")


@pytest.mark.parametrize("family", ["leg_counting", "countdown", "spell_backward", "mini_sudoku"])
async def test_the_reward_is_reasoning_gyms_score(family: str) -> None:
    config = build("env", {"name": "reasoning_gym", "family": family})
    tasks = config.source().draw(6, random.Random(0))
    assert len({task.prompt for task in tasks}) == 6
    rewards: set[bool] = set()
    async with Services() as services:
        env = config.make(services)
        for task in tasks:
            theirs = reasoning_gym.create_dataset(family, seed=task.info["seed"], size=1)
            entry = theirs[0]
            assert (task.prompt, task.answer) == (entry["question"], entry["answer"])
            for answer in (entry["answer"], f"{entry['answer']} or so", "nothing", "7"):
                opening, _ = await env.reset(options={"task": task})
                assert opening[-1] == {"role": "user", "content": entry["question"]}
                got = await env.step(f"I guess. <answer>{answer}</answer>")
                assert got.reward == theirs.score_answer(answer, entry)
                assert got.terminated
                assert got.info["success"] == (got.reward == 1.0)
                rewards.add(got.info["success"])
            await env.reset(options={"task": task})
            assert (await env.step("no tags")).reward == theirs.score_answer(None, entry)
        await env.close()
    assert rewards == {True, False}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"family": "leg_count"}, "did you mean 'leg_counting'"),
        ({"family": "leg_counting", "options": {"animals": 3}}, "animals"),
        ({"family": "leg_counting", "options": {"min_animals": -3}}, "min_animals"),
    ],
)
def test_what_does_not_exist_is_named(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build("env", {"name": "reasoning_gym", **fields}).source().draw(1, random.Random(0))


def test_its_tasks_are_for_other_environments_too() -> None:
    tasks = {"name": "reasoning_gym", "family": "leg_counting"}
    source = build("env", {"name": "retool", "tasks": tasks}).source()
    trained, held_out = (source.draw(20, random.Random(0), split) for split in ("train", "eval"))
    assert not {task.id for task in trained} & {task.id for task in held_out}
    assert all(task.answer.isdecimal() for task in trained + held_out)


async def test_it_keeps_the_promises_of_every_environment() -> None:
    results = await check_env(build("env", {"name": "reasoning_gym", "family": "leg_counting"}))
    assert [result for result in results if not result.ok] == []
