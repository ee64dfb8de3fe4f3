"""Small functions over lists of whole numbers, made to order."""

from __future__ import annotations

import random
from dataclasses import dataclass

from agentgym.env import Split
from agentgym.envs.code_tests import CallTests
from agentgym.envs.tasks.splits import make_tasks
from agentgym.ranges import at_least
from agentgym.types import Task

STEPS = (
    ("add {k} to each number", "[x + {k} for x in {xs}]"),
    ("multiply each number by {k}", "[x * {k} for x in {xs}]"),
    ("take each number from {k}", "[{k} - x for x in {xs}]"),
    ("square each number", "[x * x for x in {xs}]"),
    ("keep the numbers above {k}", "[x for x in {xs} if x > {k}]"),
    ("drop the multiples of {k}", "[x for x in {xs} if x % {k}]"),
    ("keep the even numbers", "[x for x in {xs} if x % 2 == 0]"),
    ("drop the first {k} numbers", "{xs}[{k}:]"),
)
RESULTS = (
    ("return the sum", "sum({xs})"),
    ("return how many there are", "len({xs})"),
    ("return them in ascending order", "sorted({xs})"),
    ("return them in reverse", "{xs}[::-1]"),
    ("return how many are different", "len(set({xs}))"),
)
CASES = 6


@dataclass(frozen=True, slots=True)
class Functions:
    """ "Write f(xs): square each number, keep the numbers above 3, return the sum", with an example.

    steps: most steps before the result.
    """

    steps: int = 2

    def __post_init__(self) -> None:
        at_least(self, 1, "steps")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return make_tasks(lambda: self._task(rng), n, split, "functions")

    def _task(self, rng: random.Random) -> Task | None:
        """A task; None when a constant would pass."""
        words, code = [], "xs"
        for phrase, step in [*rng.choices(STEPS, k=rng.randint(1, self.steps)), rng.choice(RESULTS)]:
            k = rng.randint(2, 6)
            words.append(phrase.format(k=k))
            code = step.format(k=k, xs=code)
        lists = [[rng.randint(-9, 20) for _ in range(rng.randint(4, 9))] for _ in range(CASES)]
        values = [eval(code, {"xs": xs}) for xs in lists]  # written above, from nothing that anybody sent
        if len(set(map(str, values))) < CASES // 2:
            return None
        example, question = f"f({lists[0]})", f"Write f(xs): {', '.join(words)}."
        asserts = "\n".join(f"assert f({xs}) == {value}" for xs, value in zip(lists[1:], values[1:], strict=True))
        program = f"def f(xs):\n    return {code}"
        info = {"tests": CallTests(asserts, ("f",), reference=program), "example": example}
        return Task(f"functions {question}", f"{question} {example} is {values[0]}.", program, info)
