"""Tasks from the data set of a verifiers environment."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from agentgym.env import Split
from agentgym.errors import TaskError
from agentgym.extras import need
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class Verifiers:
    """The data set that an environment of verifiers brings along.

    id, arguments: as in the environment `verifiers`. Its own evaluation set is the evaluation set, where it has
    one.
    """

    id: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """All in the data set's order for None, else in random order, each row once before any comes twice."""
        need("verifiers.envs", "verifiers")
        from agentgym.envs.verifiers_peer import load, rows

        found = rows(load(self.id, self.arguments), split == "eval")
        if not found:
            raise TaskError(f"verifiers {self.id}: there are no rows")
        chosen = list(range(len(found))) if n is None else []
        while len(chosen) < (n or 0):
            chosen += rng.sample(range(len(found)), min(len(found), (n or 0) - len(chosen)))
        side = "eval" if split == "eval" else "train"
        return [self._task(f"{self.id} {side} {i}", dict(found[i])) for i in chosen]

    def _task(self, name: str, row: dict[str, Any]) -> Task:
        return Task(name, row["prompt"], str(row.get("answer") or ""), {"row": row})
