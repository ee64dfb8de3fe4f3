"""Seeds as tasks: numbered, split, and counted where they can be."""

from __future__ import annotations

import random

import pytest

from agentgym.envs.tasks.seeds import Seeds
from agentgym.errors import ConfigError


def test_all_of_them_are_in_one_split_each() -> None:
    seeds = Seeds(count=500)
    train, held_out = (
        [task.info["seed"] for task in seeds.draw(None, random.Random(0), split)] for split in ("train", "eval")
    )
    assert sorted(train + held_out) == list(range(500))
    assert 20 < len(held_out) < 80
    drawn = {task.info["seed"] for task in seeds.draw(2000, random.Random(0))}
    assert drawn <= set(train)
    assert len(drawn) > 300


def test_without_a_count_they_have_no_end() -> None:
    with pytest.raises(ConfigError, match="say how many to draw"):
        Seeds().draw(None, random.Random(0))
    with pytest.raises(ValueError, match="count must be from 1"):
        Seeds(count=0)
