"""The env `tool_agent`, with a function that is a coroutine or a plain one."""

from __future__ import annotations

import json
from typing import Any

from agentgym.config import build
from agentgym.env import Env, EnvConfig
from agentgym.services import Services
from agentgym.types import Task
from episode import ANSWER, CALL, CLOSING, SAID, TURNS, Subject, must, walk


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


class Ours(Subject):
    def __init__(self, tool: str, protocol: str) -> None:
        self.services = Services()
        self.config: EnvConfig = build(
            "env", {"name": "tool_agent", "tools": f"{__file__}:{tool}", "protocol": protocol, "max_turns": TURNS}
        )
        self.options = {"task": Task(id="echo", prompt="Say hello.", answer=ANSWER)}
        called = json.dumps({"name": tool, "arguments": {"text": SAID}})
        call = CALL.replace("echo>", f"{tool}>") if protocol == "arpo" else f"<tool_call>\n{called}\n</tool_call>"
        self.actions = (call,) * (TURNS - 1) + (CLOSING,)

    async def episode(self, seconds: list[float]) -> None:
        env = self.config.make(self.services)
        await env.reset(seed=1, options=self.options)
        result = await walk(env.step, self.actions, seconds)
        must(result.terminated and result.reward == 1.0 and result.info["tool_calls"] == TURNS - 1, result)
        await env.close()

    async def idle(self) -> Any:
        env: Env = self.config.make(self.services)
        await env.reset(seed=1, options=self.options)
        await env.step(self.actions[0])
        return env

    async def close(self) -> None:
        await self.services.close()


def make(tool: str, protocol: str) -> Ours:
    return Ours(tool, protocol)
