"""INSPO: an instruction shared by each group, drawn by a softmax of weights that follow relative rewards."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from agentgym.services import Services
from agentgym.trainers.base import Scored
from agentgym.types import Group, Task, Tokens, Turn


class Questions:
    def draw(self, n: int | None, rng: random.Random, split: str = "train") -> list[Task]:
        return [Task(str(i), f"question {i}", "a") for i in range(n or 0)]


def played(number: int, task: Task, rewards: list[float]) -> list[Scored]:
    group = Group(str(number), task, [Turn(None, Tokens((0,)), Tokens((1,))) for _ in rewards])
    return [Scored(group, leaf, reward) for leaf, reward in enumerate(rewards)]


async def test_weights_and_chances_are_those_worked_out_by_hand(stage):
    """Groups earn 1, 1/2 and 0 on average; beyond the other two: 3/4, 0 and -3/4."""
    config = replace(stage("inspo", "rl").sampler, llm=None)
    live = config.start(Questions(), seed=0)
    members = live.population.members[:3]
    tasks = [Task(m.id, "q", "a", {"instruction": m.id}) for m in members]
    rewards = [[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    for _ in range(config.trial):
        batch = [s for i, (task, own) in enumerate(zip(tasks, rewards, strict=True)) for s in played(i, task, own)]
        await live.observe(batch, Services())
    assert [m.weight for m in members] == pytest.approx([0.75, 0.0, -0.75])
    # The fourth is on trial, and so is drawn as often as the best.
    shares = [math.exp(w / config.tau) for w in (0.75, 0.0, -0.75, 0.75)]
    assert live.population.probabilities() == pytest.approx([share / sum(shares) for share in shares])
