"""Tasks from the generators of Reasoning Gym (https://github.com/open-thought/reasoning-gym)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from agentgym.env import Split
from agentgym.envs.tasks.splits import make_tasks
from agentgym.errors import ConfigError, did_you_mean
from agentgym.extras import need
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class ReasoningGym:
    """Tasks of a family of Reasoning Gym's, generated.

    family: such as leg_counting. options: the family's own, such as {min_animals = 2}.
    """

    family: str
    options: dict[str, Any] = field(default_factory=dict)

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return make_tasks(lambda: self._task(rng), n, split, f"reasoning_gym {self.family}")

    def _task(self, rng: random.Random) -> Task:
        made = {"family": self.family, "seed": rng.randrange(2**31), "options": self.options}
        _, entry = generate(made)
        return Task(f"{self.family} {made['seed']}", entry["question"], str(entry["answer"] or ""), made)


def generate(made: Any) -> tuple[Any, dict[str, Any]]:
    """The data set and its one entry that a task was made of: `family`, `seed`, `options`. Raises ConfigError."""
    need("reasoning_gym", "reasoning-gym")
    from reasoning_gym.factory import DATASETS, create_dataset

    if made["family"] not in DATASETS:
        raise ConfigError(f"family={made['family']!r}: {did_you_mean(made['family'], DATASETS)}")
    try:
        dataset = create_dataset(made["family"], seed=made["seed"], size=1, **made["options"])
    except (TypeError, AssertionError) as error:
        raise ConfigError(f"{made['family']}, options={made['options']}: {error}") from error
    return dataset, dataset[0]
