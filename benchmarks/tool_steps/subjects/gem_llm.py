"""gem-llm: its tool wrapper around an environment of one answer, in its vector of environments, which gives each a
thread and steps them together: a step's latency is that of all."""

from __future__ import annotations

import importlib
import re
import time
from typing import Any

from episode import ACTIONS, ANSWER, Subject, must


def make() -> Subject:
    core = importlib.import_module("gem.core")
    base = importlib.import_module("gem.tools.base_tool")
    wrapper = importlib.import_module("gem.tools.tool_env_wrapper")
    vectors = importlib.import_module("gem.vector.async_vector_env")
    tag = re.compile(r"<echo>\n(.*?)\n</echo>", re.DOTALL)

    class Echo(base.BaseTool):
        tool_type = "echo"
        name = "echo"

        def instruction_string(self) -> str:
            return "Write what to say between <echo> and </echo>."

        def execute_action(self, action: str) -> tuple[bool, bool, str, str]:
            found = tag.search(action)
            if found is None:
                return False, True, "", ""
            return True, False, f"\n<result>\n{found[1]}\n</result>\n", found[0]

    class Question(core.Env):
        def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
            return "Say hello.", {}

        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            return "", float(f"\\boxed{{{ANSWER}}}" in action), True, False, {}

    def one() -> Any:
        return wrapper.ToolEnvWrapper(Question(), [Echo()], max_tool_uses=None)

    class GemLlm(Subject):
        def __init__(self) -> None:
            self.vectors: dict[int, Any] = {}

        async def play(self, lanes: int, end: float) -> list[float]:
            if lanes not in self.vectors:
                self.vectors[lanes] = vectors.AsyncVectorEnv(["echo"] * lanes, [one] * lanes)
            vector, seconds = self.vectors[lanes], []
            while True:
                vector.reset()
                for action in ACTIONS:
                    began = time.perf_counter()
                    _, rewards, over, _, _ = vector.step([action] * lanes)
                    seconds += [time.perf_counter() - began] * lanes
                must(all(over) and all(rewards == 1.0), (rewards, over))
                if time.perf_counter() >= end:
                    return seconds

        async def episode(self, seconds: list[float]) -> None:
            raise NotImplementedError("played together")

        async def idle(self) -> Any:
            env = one()
            env.reset()
            env.step(ACTIONS[0])
            return env

    return GemLlm()
