"""Which tasks are held out for evaluation: decided by the task itself, so that it never changes sides."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

from agentgym.env import Split
from agentgym.errors import ConfigError, TaskError
from agentgym.types import Task

IN_VAIN = 10_000
"""Tasks in a row after which no more are tried: a tenth of them would be held out."""


def in_split(key: str, split: Split, holdout: float = 0.1) -> bool:
    """Whether the task named `key` belongs to `split`; a share of `holdout` of all keys is held out."""
    if split == "all":
        return True
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return (place < holdout) == (split == "eval")


def make_tasks(make: Callable[[], Task | None], n: int | None, split: Split, name: str) -> list[Task]:
    """`n` of the tasks that `make` makes (None: that one came to nothing) which belong to `split`.

    Raises ConfigError for None, saying that the generator `name` has no end, and where it seems to make none that
    belongs there.
    """
    if n is None:
        raise ConfigError(f"{name} makes tasks without end: say how many to draw (agentgym eval -n 256)")
    tasks: list[Task] = []
    others = 0
    while len(tasks) < n:
        task = make()
        if task is not None and in_split(task.id, split):
            tasks.append(task)
            others = 0
        elif (others := others + 1) == IN_VAIN:
            raise ConfigError(
                f"{name}: none of {IN_VAIN:,} tasks in a row is in the {split} split: it makes too few others"
            )
    return tasks


def draw_from(
    every: Sequence[Task],
    n: int | None,
    rng: random.Random,
    split: Split,
    holdout: float,
    name: str,
    together: Callable[[Task], str] = lambda task: task.id,
) -> list[Task]:
    """All that belong to `split`, in their order, for None; else in random order, each once before any comes
    twice. Tasks of the same `together` belong to the same split. Raises TaskError when there are none. name: where
    they come from."""
    if not every:
        raise TaskError(f"{name}: there are no tasks in it")
    rows = [task for task in every if in_split(together(task), split, holdout)]
    if not rows:
        raise TaskError(
            f"{name}: of its {len(every)} rows none is in the {split} split (holdout={holdout}, by "
            "a hash of each id); env.tasks.holdout=0 trains on all, env.eval_tasks=FILE evaluates on others"
        )
    if n is None:
        return rows
    drawn: list[Task] = []
    while len(drawn) < n:
        drawn += rng.sample(rows, min(len(rows), n - len(drawn)))
    return drawn
