"""Questions about invented databases, and changes to make in them, drawn anew for every run."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

from agentgym.database import Dialect
from agentgym.env import Split
from agentgym.envs.ledgers.ledger import Ledger
from agentgym.envs.ledgers.questions import LOOK, Level, ask
from agentgym.envs.tasks.splits import in_split
from agentgym.errors import ConfigError
from agentgym.ranges import at_least
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class Ledgers:
    """Questions about invented databases, and changes in them.

    tables, numbers, rows: of each database, see `ledgers/ledger.py`. levels: of the questions, chosen among these:
    `lookup` of a number, `count` with a filter, `aggregate`, `top` (order and limit), `join`, and changes that
    first have to look something up, `copy` and `delete`. answers_with: what answers a question, the `value` or the
    `query` that finds it (changes are judged by the state they leave). dialect: of the databases. questions: about
    a database before the next one is made.
    """

    tables: int = 3
    numbers: int = 2
    rows: int = 16
    levels: tuple[Level, ...] = get_args(Level)
    answers_with: Literal["value", "query"] = "value"
    dialect: Dialect = "sqlite"
    questions: int = 16

    def __post_init__(self) -> None:
        self._ledger(0)
        if not self.levels:
            raise ValueError(f"levels must be some of {', '.join(get_args(Level))}")
        at_least(self, 1, "questions")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """Databases, and not questions, belong to a split."""
        if n is None:
            raise ConfigError("ledgers makes tasks without end: say how many to draw")
        tasks: list[Task] = []
        while len(tasks) < n:
            ledger = self._ledger(rng.randrange(2**31))
            if in_split(f"ledger {ledger.seed}", split):
                tasks += [self._task(ledger, rng, i) for i in range(min(self.questions, n - len(tasks)))]
        return tasks

    def _ledger(self, seed: int) -> Ledger:
        return Ledger(seed, self.tables, self.numbers, self.rows)

    def _task(self, ledger: Ledger, rng: random.Random, number: int) -> Task:
        level = rng.choice(self.levels)
        question = ask(ledger, rng, level)
        changes = question.answer is None
        looks = [LOOK[self.dialect].format(column) for column in question.columns]
        info: dict[str, Any] = {
            "level": level,
            "database": self._template(ledger),
            "answers_with": "state" if changes else self.answers_with,
            "gold": [question.solution] if changes else question.solution,
            "steps": [*looks, *question.statements],
        }
        if info["answers_with"] == "query":
            info["second"] = self._template(replace(ledger, other=True))
        answer = question.answer if info["answers_with"] == "value" else question.solution
        return Task(f"ledger {ledger.seed} {number}", question.text, str(answer), info)

    def _template(self, ledger: Ledger) -> dict[str, Any]:
        return {"dialect": self.dialect, "script": _script(ledger)}


@lru_cache(maxsize=64)
def _script(ledger: Ledger) -> str:
    return ledger.script()
