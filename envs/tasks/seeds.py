"""Tasks that are seeds: the environment makes the rest of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from agentgym.env import Split
from agentgym.envs.tasks.splits import in_split, make_tasks
from agentgym.ranges import within
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds for environments that make tasks themselves. They are whole numbers from 0 on, below `count` (at most
    2**31); a tenth of them is held out for evaluation."""

    count: int = 2**31

    def __post_init__(self) -> None:
        within(self, 1, 2**31, "count")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """`n` at random; for None all in order, where `count` says how many there are."""
        if n is None and self.count < 2**31:
            return [task for task in map(_task, range(self.count)) if in_split(task.id, split)]
        return make_tasks(lambda: _task(rng.randrange(self.count)), n, split, "seeds")


def _task(seed: int) -> Task:
    return Task(f"seed {seed}", "", "", {"seed": seed})
