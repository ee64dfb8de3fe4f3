"""From what the user typed to a source of tasks."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import cast

from agentgym.config import Spec, build
from agentgym.env import Split, TaskSource
from agentgym.types import Task


def task_source(tasks: Spec, eval_tasks: Spec | None = None) -> TaskSource:
    """A generator by name, a .jsonl or .parquet file by path, a Hugging Face dataset by id, or `file.py:Class`.

    `eval_tasks`, where given, are the evaluation tasks, all of them, and nothing of `tasks` is held out.
    """
    source = _open(tasks)
    return source if eval_tasks is None else _Separate(source, _open(eval_tasks))


def _open(spec: Spec) -> TaskSource:
    table = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(table.get("name", ""))
    if ":" not in name and ("/" in name or name.endswith((".jsonl", ".parquet"))):
        table = {**table, "name": "file", "path": name}
    return cast(TaskSource, build("tasks", table))


@dataclass(frozen=True, slots=True)
class _Separate:
    train: TaskSource
    held_out: TaskSource

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return (self.train if split == "train" else self.held_out).draw(n, rng, "all")
