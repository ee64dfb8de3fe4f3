"""The env `tool_agent`, with a function that is a coroutine or a plain one."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from episode import ANSWER, CALL, CLOSING, SAID, TURNS, Subject, must, walk

from agentgym.config import build
from agentgym.env import Env, EnvConfig, Split
from agentgym.services import Services
from agentgym.types import Task


async def echo(text: str) -> str:
    """Say it again.

    Args:
        text: What to say.
    """
    return text


def plain(text: str) -> str:
    """Say it again.

    Args:
        text: What to say.
    """
    return text


@dataclass(frozen=True)
class OneTask:
    """Tasks of which there is one."""

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return [Task(id="echo", prompt="Say hello.", answer=ANSWER)] * (n or 1)


def env_spec(tool: str, protocol: str) -> dict[str, Any]:
    """The environment, as `env=` takes it."""
    settings = {"tools": f"{__file__}:{tool}", "protocol": protocol, "tasks": f"{__file__}:OneTask"}
    return {"name": "tool_agent", "max_turns": TURNS, **settings}


class Ours(Subject):
    def __init__(self, tool: str, protocol: str) -> None:
        self.services = Services()
        self.config: EnvConfig = build("env", env_spec(tool, protocol))
        called = json.dumps({"name": tool, "arguments": {"text": SAID}})
        call = CALL.replace("echo>", f"{tool}>") if protocol == "arpo" else f"<tool_call>\n{called}\n</tool_call>"
        self.actions = (call,) * (TURNS - 1) + (CLOSING,)

    async def episode(self, seconds: list[float]) -> None:
        env = self.config.make(self.services)
        await env.reset(seed=1)
        result = await walk(env.step, self.actions, seconds)
        must(result.terminated and result.reward == 1.0 and result.info["tool_calls"] == TURNS - 1, result)
        await env.close()

    async def idle(self) -> Any:
        env: Env = self.config.make(self.services)
        await env.reset(seed=1)
        await env.step(self.actions[0])
        return env

    async def close(self) -> None:
        await self.services.close()


def make(tool: str, protocol: str) -> Ours:
    return Ours(tool, protocol)
