"""Mazes: corridors, then halls whose signs say the way to who has found out what they mean."""

from __future__ import annotations

import random
from dataclasses import dataclass

from agentgym.env import Split
from agentgym.envs.tasks.splits import make_tasks
from agentgym.ranges import within
from agentgym.types import Task

DOORS = ("north", "east", "south", "west")
SIGNS = ("sun", "moon", "star", "tree", "fish", "bird", "ship", "ring")


@dataclass(frozen=True, slots=True)
class Mazes:
    """`corridors` rooms with one exit, then `halls` with `doors` exits each.

    A hall has one of `signs` signs, and each sign means the same door in every maze: what no text says, and a
    policy finds out by trying. So early moves are certain, and late ones are not.
    """

    corridors: int = 4
    halls: int = 2
    doors: int = 4
    signs: int = 8

    def __post_init__(self) -> None:
        within(self, 0, 64, "corridors", "halls")
        within(self, 2, len(DOORS), "doors")
        within(self, 1, len(SIGNS), "signs")
        if not self.corridors + self.halls:
            raise ValueError("a maze needs a room: corridors and halls are both 0")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return make_tasks(lambda: self._task(rng), n, split, "mazes")

    def _task(self, rng: random.Random) -> Task:
        rooms = [{"sign": "", "way": rng.choice(DOORS)} for _ in range(self.corridors)]
        for _ in range(self.halls):
            sign = rng.randrange(self.signs)
            rooms.append({"sign": SIGNS[sign], "way": DOORS[sign % self.doors]})
        way = " ".join(room["way"] for room in rooms)
        name = f"maze {' '.join(room['sign'] or room['way'] for room in rooms)}"
        return Task(name, "Find the way out of the maze.", way, {"rooms": rooms, "doors": self.doors})
