"""SkyRL-Gym's environments as ours, against a plain loop over SkyRL-Gym itself."""

from __future__ import annotations

from typing import Any

import pytest

from agentgym.check import check_env
from agentgym.config import build
from agentgym.errors import ConfigError, EnvError
from agentgym.services import Services
from agentgym.types import Task

skyrl_gym = pytest.importorskip("skyrl_gym", reason="needs SkyRL-Gym: the extra skyrl-gym")

TASK = Task("t", "What is 6 * 7?", "42")
SCRIPTS = [
    ["#### 42"],
    ["#### 41"],
    ["It is 42."],
    ["hm", "#### 41", "#### 42"],
    ["hm", "#### 41", "ha"],
]


def alone(id: str, script: list[str], turns: int) -> list[Any]:
    """What SkyRL-Gym makes of a script, as its own generator drives it."""
    truth = {"ground_truth": TASK.answer}
    env = skyrl_gym.make(
        id, env_config={}, extras={"reward_spec": truth, "reward_model": truth, "max_turns": turns}
    )
    seen: list[Any] = [env.init([{"role": "user", "content": TASK.prompt}])[0]]
    for action in script:
        got = env.step(action)
        seen += [got["observations"], got["reward"], got["done"]]
        if got["done"]:
            break
    env.close()
    return seen


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("id", ["gsm8k", "gsm8k_multi_turn", "aime"])
async def test_it_pays_what_skyrl_pays(id: str, script: list[str]) -> None:
    async with Services() as services:
        env = build("env", {"name": "skyrl_gym", "id": id, "max_turns": 3}).make(services)
        seen: list[Any] = [(await env.reset(options={"task": TASK}))[0]]
        for action in script:
            got = await env.step(action)
            seen += [got.observation, got.reward, got.terminated]
            if got.terminated:
                break
        await env.close()
    assert seen == alone(id, script, 3)


async def test_what_its_code_raises_is_the_machinery() -> None:
    async with Services() as services:
        env = build("env", {"name": "skyrl_gym", "id": "text2sql"}).make(services)
        with pytest.raises(EnvError, match="db_id field is required"):
            await env.reset(options={"task": TASK})
        env = build("env", {"name": "skyrl_gym", "id": "gsm8"}).make(services)
        with pytest.raises(ConfigError, match="did you mean 'gsm8k'"):
            await env.reset(options={"task": TASK})


async def test_it_keeps_the_promises_of_every_environment() -> None:
    demo = ["It takes a while.", "#### {answer}"]
    results = await check_env(build("env", {"name": "skyrl_gym", "id": "gsm8k_multi_turn", "demo": demo}))
    assert [result for result in results if not result.ok] == []
