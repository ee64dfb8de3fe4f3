"""skyrl-gym: a text environment with a group of one tool, in the manner of its SearchEnv. Its steps block, and are
called where they stand, which is cheaper than the threads that SkyRL's generator gives them."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from episode import ACTIONS, ANSWER, Subject, must, walk


def make() -> Subject:
    base = importlib.import_module("skyrl_gym.envs.base_text_env")
    tools = importlib.import_module("skyrl_gym.tools.core")

    class Group(tools.ToolGroup):
        def __init__(self) -> None:
            super().__init__(name="Echo")

        @tools.tool
        def echo(self, text: str) -> str:
            return text

    class Environment(base.BaseTextEnv):
        def __init__(self) -> None:
            super().__init__()
            self.max_turns = len(ACTIONS)
            self.init_tool_groups([Group()])
            self.history: list[dict[str, str]] = []

        def step(self, action: str) -> Any:
            self.turns += 1
            self.history.append({"role": "assistant", "content": action})
            if "<answer>" in action and "</answer>" in action:
                reward = float(f"\\boxed{{{ANSWER}}}" in action)
                return base.BaseTextEnvStepOutput(observations=[], reward=reward, done=True, metadata={})
            said = action.partition("<echo>\n")[2].partition("\n</echo>")[0]
            output = self._execute_tool("Echo", "echo", [said])
            shown = {"role": "user", "content": f"\n<result>\n{output}\n</result>\n"}
            self.history.append(shown)
            return base.BaseTextEnvStepOutput(observations=[shown], reward=0.0, done=False, metadata={})

    async def at_once(env: Environment, action: str) -> Any:
        return env.step(action)

    class SkyrlGym(Subject):
        async def episode(self, seconds: list[float]) -> None:
            env = Environment()
            env.init([{"role": "user", "content": "Say hello."}])
            result = await walk(partial(at_once, env), ACTIONS, seconds)
            must(result["done"] and result["reward"] == 1.0, result)
            env.close()

        async def idle(self) -> Any:
            env = Environment()
            env.init([{"role": "user", "content": "Say hello."}])
            env.step(ACTIONS[0])
            return env

    return SkyrlGym()
