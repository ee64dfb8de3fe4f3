"""Questions about invented worlds, drawn anew for every run, so that nothing can be known by heart (the idea of
FictionalHot, ReSeek, arXiv 2510.00568)."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass

from agentgym.env import Split
from agentgym.envs.tasks.splits import in_split
from agentgym.envs.worlds.questions import Question, ask
from agentgym.envs.worlds.world import Astray, World
from agentgym.errors import ConfigError
from agentgym.ranges import at_least, within
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class Fictional:
    """Questions about worlds that nobody can know by heart, each with a corpus of its own.

    passages, misleading, filler, astray: of each world, see `worlds/world.py`. hops: how many facts an answer
    takes, chosen among these. easy_fraction: share of the tasks that bring along the passages which answer them,
    and need no search. questions: drawn from a world before the next one is made.
    """

    passages: int = 200
    misleading: float = 0.5
    filler: int = 0
    hops: tuple[int, ...] = (1, 2)
    easy_fraction: float = 0.0
    questions: int = 16
    astray: tuple[Astray, ...] = World.astray

    def __post_init__(self) -> None:
        self._world(0)
        if not self.hops or not set(self.hops) <= {1, 2, 3}:
            raise ValueError(f"hops must be some of 1, 2 and 3, not {list(self.hops)}")
        within(self, 0, 1, "easy_fraction")
        at_least(self, 1, "questions")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """Worlds, and not questions, belong to a split."""
        if n is None:
            raise ConfigError("fictional makes tasks without end: say how many to draw")
        tasks: list[Task] = []
        while len(tasks) < n:
            world = self._world(rng.randrange(2**31))
            if in_split(f"world {world.seed}", split):
                tasks += self.ask(world, rng, min(self.questions, n - len(tasks)))
        return tasks

    def ask(self, world: World, rng: random.Random, n: int) -> list[Task]:
        """`n` questions about a world."""
        return [self._task(world, rng, number) for number in range(n)]

    def _world(self, seed: int) -> World:
        return World(seed, self.passages, self.misleading, self.filler, tuple(self.astray))

    def _task(self, world: World, rng: random.Random, number: int) -> Task:
        easy = rng.random() < self.easy_fraction
        question = ask(world, rng, rng.choice(self.hops))
        return Task(
            f"world {world.seed} {number}",
            question.given() if easy else question.text,
            question.answer,
            _info(question, easy),
        )


def _info(question: Question, easy: bool) -> dict[str, object]:
    return {
        "level": "easy" if easy else "hard",
        "hops": len(question.facts),
        "world": asdict(question.world),
        "gold_doc_ids": question.gold_doc_ids,
        "subject": question.subject,
        "words": question.words,
    }
