"""agentgym's contestant: whole training steps, as `agentgym train` takes them."""

from __future__ import annotations

import asyncio
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import case

from agentgym.config import convert
from agentgym.env import Env, Split, StepResult
from agentgym.run import train
from agentgym.services import Services
from agentgym.trainers.settings import Settings
from agentgym.types import Message, Task


@dataclass(frozen=True)
class Questions:
    """An `EnvConfig` and its own task source: questions from a file, which nobody can answer; any reward is luck.

    tool: the policy may call the calculator.
    """

    folder: str
    tool: bool = False

    def make(self, services: Services) -> QuestionsEnv:
        return QuestionsEnv(self, services)

    def source(self) -> Questions:
        return self

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        texts = case.read_questions(Path(self.folder))
        return [Task(str(i), text, "") for i, text in enumerate(rng.sample(texts, n or len(texts)))]


class QuestionsEnv(Env):
    """One question; with a tool, as many calls as the policy likes before its answer."""

    config: Questions

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        self._rng, self._calls = rng, 0
        assert isinstance(task.prompt, str)
        system: list[Message] = [{"role": "system", "content": case.tool_definition()}] if self.config.tool else []
        return [*system, {"role": "user", "content": task.prompt}]

    async def act(self, action: str) -> StepResult:
        call = re.search(r"<tool_call>(.*?)</tool_call>", action) if self.config.tool else None
        if call is None:
            return StepResult("", self._rng.random(), True, False, {"tool_calls": self._calls})
        self._calls += 1
        return StepResult([{"role": "tool", "content": _answer(call[1])}], 0.0, False, False, {})

    def unfinished_reward(self) -> float:
        return self._rng.random()


def _answer(call: str) -> str:
    try:
        return case.calculator(json.loads(call)["arguments"]["expression"])
    except (ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


class Reporter:
    """Takes a step whenever it is told to."""

    def __init__(self, steps: case.Steps, rollouts: Path) -> None:
        self.steps, self.rollouts = steps, rollouts

    def watch(self, *managers: Any) -> None:
        pass

    def stage(self, stage: Any, steps: int, done: int) -> None:
        self.steps.wait()

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        self.steps.tell(
            rollout=metrics["seconds_rollout"],
            update=metrics["seconds_update"],
            sampled=metrics["completion_length"],
            calls=metrics["tool_calls"],
            unique=metrics["computed_tokens"],
            forests=str(self.rollouts / f"step_{step}.jsonl"),
        )
        self.steps.wait()

    def evaluated(self, name: str, step: int, result: Any) -> None:
        pass


def run(steps: case.Steps, folder: Path, tool: bool, count: int) -> None:
    """`count` steps of GRPO as TRL does it by default: clipped ratio, no KL, group advantages, token mean."""
    runs = folder / "runs"
    table = {
        "env": {"name": f"{__file__}:Questions", "folder": str(folder), "tool": tool},
        "model": str(folder),
        "device": "cpu",
        "batch_size": case.PROMPTS,
        "group_size": case.SAMPLES,
        "max_completion_tokens": case.NEW,
        "microbatch_tokens": 4096,
        "max_steps": count + 1,  # after the last comes an evaluation, which nobody waits for
        "lr": case.LR,
        "output_dir": str(runs),
        "run_name": "agentgym",
        "stages": [
            {
                "name": "rl",
                "signals": ["env_return"],
                "credit": [{"name": "weighted_sum", "weights": {"return": 1.0}}, {"name": "group_relative"}],
                "losses": ["ppo_clip"],
            }
        ],
    }
    reporter = Reporter(steps, runs / "agentgym" / "rollouts")
    asyncio.run(train(convert(Settings, table, "settings"), reporter))


if __name__ == "__main__":
    case.start(run)
