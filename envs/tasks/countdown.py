"""Countdown: reach a target with given numbers (as in TinyZero and, for 4 numbers, the 24 game)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

from agentgym.env import Split
from agentgym.envs.tasks.splits import make_tasks
from agentgym.ranges import within
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class Countdown:
    """`count` numbers from `low` to `high`, and a target from 1 to `high` that they can be combined to."""

    count: int = 3
    low: int = 1
    high: int = 100

    def __post_init__(self) -> None:
        within(self, 2, 6, "count")
        if not 1 <= self.low < self.high:
            raise ValueError(f"low must be at least 1 and below high, not {self.low} and {self.high}")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return make_tasks(lambda: self._task(rng), n, split, "countdown")

    def _task(self, rng: random.Random) -> Task | None:
        numbers = [rng.randint(self.low, self.high) for _ in range(self.count)]
        value, expression = _combine(numbers, rng)
        if value is None or value.denominator != 1 or not 1 <= value <= self.high:
            return None
        question = (
            f"Using each of the numbers {numbers} exactly once and + - * / with parentheses, "
            f"write an expression equal to {value}."
        )
        info = {"numbers": numbers, "target": int(value)}
        return Task(f"countdown {numbers} {value}", question, expression, info)


def _combine(numbers: list[int], rng: random.Random) -> tuple[Fraction | None, str]:
    """Join the numbers two by two at random: the value (None after a division by 0) and the expression."""
    parts = [(Fraction(n), str(n)) for n in numbers]
    while len(parts) > 1:
        (a, x), (b, y) = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
        sign = rng.choice("+-*/")
        if sign == "/" and b == 0:
            return None, ""
        value = {"+": a + b, "-": a - b, "*": a * b, "/": a / (b or 1)}[sign]
        parts.append((value, f"({x}{sign}{y})"))
    return parts[0]
