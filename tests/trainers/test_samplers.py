"""Which tasks are proposed, which groups are learned from."""

from __future__ import annotations

import json
import random

import pytest

from agentgym.config import build
from agentgym.types import Task


class Sums:
    """Tasks from random numbers, of an uneven number of draws each."""

    def draw(self, n: int | None, rng: random.Random, split: str = "train") -> list[Task]:
        values = [rng.choice([rng.gauss(0, 1), rng.random()]) for _ in range(n or 0)]
        return [Task(f"{split}-{value}", "p", "a") for value in values]


def test_a_restored_sampler_proposes_what_the_original_would_have():
    config = build("sampler", "uniform")
    original = config.start(Sums(), seed=3)
    original.propose(5)
    state = json.loads(json.dumps(original.state_dict()))
    expected = [original.propose(7), original.propose(1)]
    restored = config.start(Sums(), seed=4)
    restored.load_state_dict(state)
    assert [restored.propose(7), restored.propose(1)] == expected


def test_seeds_decide_the_tasks_and_the_split_is_train():
    first, same, other = (build("sampler", "uniform").start(Sums(), seed).propose(4) for seed in (0, 0, 1))
    assert first == same
    assert first != other
    assert all(task.id.startswith("train-") for task in first)


@pytest.mark.parametrize(
    ("rewards", "drop", "weight"),
    [([0.0, 1.0, 0.0], True, 1.0), ([1.0, 1.0], True, 0.0), ([0.0], True, 0.0), ([1.0, 1.0], False, 1.0)],
)
def test_groups_without_spread_are_dropped_when_asked(rewarded, rewards, drop, weight):
    sampler = build("sampler", {"name": "uniform", "drop_zero_spread": drop}).start(Sums(), seed=0)
    assert sampler.admit(rewarded("g", rewards)) == weight
