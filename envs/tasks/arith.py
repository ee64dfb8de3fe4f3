"""Arithmetic that needs a calculator, mixed with some that does not."""

from __future__ import annotations

import random
from dataclasses import dataclass

from agentgym.env import Split
from agentgym.envs.tasks.splits import make_tasks
from agentgym.ranges import at_least, within
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class Arith:
    """Products and sums of whole numbers, as in "What is 48213 * 9127?".

    digits: most digits of an operand. easy_fraction: share of tasks with one-digit operands. Operands of the
    other products have at least 3 digits (`digits`, if fewer), those of the other sums have `digits`.
    """

    digits: int = 5
    easy_fraction: float = 0.3

    def __post_init__(self) -> None:
        at_least(self, 2, "digits")
        within(self, 0, 1, "easy_fraction")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return make_tasks(lambda: self._task(rng), n, split, "arith")

    def _task(self, rng: random.Random) -> Task:
        easy = rng.random() < self.easy_fraction
        product = rng.random() < 0.7
        fewest = 1 if easy else min(3, self.digits) if product else self.digits
        most = 1 if easy else self.digits
        a, b = (_number(rng, rng.randint(fewest, most)) for _ in range(2))
        expression = f"{a} * {b}" if product else f"{a} + {b}"
        info = {"level": "easy" if easy else "hard", "expression": expression}
        return Task(f"arith {expression}", f"What is {expression}?", str(a * b if product else a + b), info)


def _number(rng: random.Random, digits: int) -> int:
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)
