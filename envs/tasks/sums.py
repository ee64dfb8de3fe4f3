"""Running sums along a way that a short rule describes, and that is too long to be seen through at once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentgym.env import Split
from agentgym.envs.tasks.splits import make_tasks
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class Sums:
    """A ring of rooms, in a random order, each with a number; the sum of those on `steps` steps along it, mod `base`.

    rooms: 2 to 9. steps: lengths of the way, one of which is drawn for each task; at most 99. base: 2 to 10; a guess
    is right once in so many.
    """

    rooms: int = 5
    steps: tuple[int, ...] = (40,)
    base: int = 10

    def __post_init__(self) -> None:
        for name, low, high in (("rooms", 2, 9), ("base", 2, 10)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {getattr(self, name)}")
        if not self.steps or not all(1 <= steps <= 99 for steps in self.steps):
            raise ValueError(f"steps must be from 1 to 99, not {list(self.steps)}")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return make_tasks(lambda: self._task(rng), n, split, "sums")

    def _task(self, rng: random.Random) -> Task:
        rooms = [room * 11 for room in rng.sample(range(1, 10), self.rooms)]
        numbers = [rng.randrange(self.base) for _ in rooms]
        following = [*rooms[1:], rooms[0]]
        rule = sorted(f"{room}+{n}>{then}" for room, n, then in zip(rooms, numbers, following, strict=True))
        steps = rng.choice(self.steps)
        prompt = "\n".join((*rule, f"{rooms[0]}: {steps} steps, sum mod {self.base}?"))
        info = {"rooms": rooms, "numbers": numbers, "steps": steps, "base": self.base}
        answer = sum(numbers[i % self.rooms] for i in range(steps)) % self.base
        return Task(f"sums {prompt}", prompt, str(answer), info)


def think(info: Mapping[str, Any], rng: random.Random, error_rate: float) -> tuple[str, str]:
    """A line for each step, with the sum up to there and the steps that are left, and the answer. A share of
    `error_rate` of the sums is wrong, and gone on from."""
    rooms, numbers, base = info["rooms"], info["numbers"], info["base"]
    lines, total = [], 0
    for step in range(info["steps"]):
        here, following = step % len(rooms), (step + 1) % len(rooms)
        total = (total + numbers[here]) % base
        if rng.random() < error_rate:
            total = (total + rng.randrange(1, base)) % base
        left = info["steps"] - step - 1
        lines.append(f"{rooms[here]}+{numbers[here]}>{rooms[following]} {total} {left:02d}\n")
    return "".join(lines), str(total)
