"""Running sums over a stream that a short rule describes, and that is too long to be seen through at once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from agentgym.env import Split
from agentgym.envs.tasks.splits import make_tasks
from agentgym.ranges import within
from agentgym.types import Task

NAMES = "abcdefghi"


@dataclass(frozen=True, slots=True)
class Sums:
    """Numbers on a ring; the sum of those on so many steps along it, from the first on, modulo `base`.

    ring: how many numbers, 2 to 9. steps: some lengths up to 99, one of which is drawn for each task. base: 2 to
    10; about one guess in so many is right. zeros: share of the numbers that are 0; a policy learns to keep a sum
    before it learns to change one.
    """

    ring: int = 4
    steps: tuple[int, ...] = (31, 32, 33, 34)  # a sum after 5 to 7 steps says nothing of the last
    base: int = 5
    zeros: float = 0.5

    def __post_init__(self) -> None:
        within(self, 2, len(NAMES), "ring")
        within(self, 2, 10, "base")
        if not 0 <= self.zeros < 1:
            raise ValueError(f"zeros must be from 0 to below 1, not {self.zeros}")
        if not self.steps or not all(1 <= steps <= 99 for steps in self.steps):
            raise ValueError(f"steps must be numbers from 1 to 99, not {list(self.steps)}")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return make_tasks(lambda: self._task(rng), n, split, "sums")

    def _task(self, rng: random.Random) -> Task:
        numbers = [0 if rng.random() < self.zeros else rng.randrange(1, self.base) for _ in range(self.ring)]
        steps = rng.choice(self.steps)
        rule = "\n".join(f"{name}{number}" for name, number in zip(NAMES, numbers, strict=False))
        prompt = f"{rule}\n{steps} steps, sum mod {self.base}?"
        answer = sum(islice(cycle(numbers), steps)) % self.base
        info = {"numbers": numbers, "steps": steps, "base": self.base}
        return Task(f"sums {' '.join(map(str, (*numbers, steps, self.base)))}", prompt, str(answer), info)


def think(info: Mapping[str, Any], rng: random.Random, error_rate: float) -> tuple[str, str]:
    """A line for each step, with the sum up to there and the steps that are left, and the answer. A share of
    `error_rate` of the sums goes wrong, unnoticed."""
    numbers, steps, base = info["numbers"], info["steps"], info["base"]
    lines, total = [], 0
    for step, (name, number) in enumerate(islice(cycle(zip(NAMES, numbers, strict=False)), steps), 1):
        total += number + (rng.randrange(1, base) if rng.random() < error_rate else 0)
        total %= base
        lines.append(f"{name}{number} {total} {steps - step:02d}\n")
    return "".join(lines), str(total)
