"""Reasoning Gym's tasks, scored by its own scorers: a question, an answer in `<answer>` tags."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentgym.env import Demonstration, Env, StepResult
from agentgym.envs.calling import Caller
from agentgym.envs.tasks.reasoning_gym import ReasoningGym as Tasks
from agentgym.envs.tasks.reasoning_gym import generate
from agentgym.protocol import Prompt, opening
from agentgym.ranges import above
from agentgym.types import Message, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningGym:
    """One turn a task; the reward is the family's score, from 0 to 1, and a full score is a success.

    family, options: as in `tasks/reasoning_gym.py`. style: one of Reasoning Gym's system prompts. prompt: whether
    it is shown. timeout: seconds that scoring may take. The scorers run in this process, and those of some
    families (of algebra) evaluate what the policy wrote.
    """

    family: str
    options: dict[str, Any] = field(default_factory=dict)
    style: str = "default"
    prompt: Prompt = "auto"
    timeout: float = 10.0

    def __post_init__(self) -> None:
        above(self, 0, "timeout")

    def make(self, services: Services) -> ReasoningGymEnv:
        return ReasoningGymEnv(self, services)

    def source(self) -> Tasks:
        return Tasks(self.family, self.options)


class ReasoningGymEnv(Env):
    """One episode."""

    stop = ("</answer>",)
    config: ReasoningGym

    def __init__(self, config: ReasoningGym, services: Services) -> None:
        super().__init__(config, services)
        self._call = Caller(f"Reasoning Gym's {config.family}", config.timeout)

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        return await self._call(lambda: opening(task.prompt, self.config.prompt, self._instructions()))

    async def act(self, action: str) -> StepResult:
        assert self.task is not None, "reset() comes first"
        made = self.task.info
        score = await self._call(lambda: _score(made, action))
        info = {"tool_calls": 0, "success": score >= 1.0, "outcome": Outcome.DONE}
        return StepResult("", score, True, False, info)

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        """Nothing: an episode is its task."""

    def demonstrate(self, rng: random.Random) -> Demonstration:
        assert self.task is not None, "reset() comes first"
        return _demonstrate(self.task.answer)

    def _instructions(self) -> str:
        from reasoning_gym.utils import SYSTEM_PROMPTS

        return str(SYSTEM_PROMPTS[self.config.style])


def _demonstrate(answer: str) -> Demonstration:
    yield f"<answer>{answer}</answer>"


def _score(made: Any, said: str) -> float:
    from reasoning_gym.utils import extract_answer

    dataset, entry = generate(made)
    return float(dataset.score_answer(extract_answer(said), entry))
