"""Questions over databases, as public sets lay them out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentgym.database import Dialect
from agentgym.env import Split
from agentgym.envs.tasks.splits import draw_from
from agentgym.errors import TaskError
from agentgym.types import Task

FOLDERS = ("databases", "database", "dev_databases")


@dataclass(frozen=True, slots=True)
class TextToSql:
    """Spider, Spider-DK, BIRD, GeoQuery and restaurants (text2sql-data's form), defog's sql-eval, and sets whose
    answers are values, such as ExCyTIn.

    path: the questions, .json or .jsonl. databases: the folder with ID.sqlite, ID.duckdb, ID/ID.sqlite or a folder
    ID of .csv files for each id that the rows name, or where they name none the one database; by default the
    folder `databases`, `database` or `dev_databases` beside the questions. dialect: of the databases.
    answers_with: what the rows' answers are. second: whether queries are checked on a second database of the same
    schema as well. seed: its rows are made with it. holdout: share that only evaluation sees; questions of one
    query stay together.
    """

    path: str
    databases: str = ""
    dialect: Dialect = "sqlite"
    answers_with: Literal["query", "value"] = "query"
    second: bool = True
    seed: int = 0
    holdout: float = 0.1

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """All in the file's order for None; else in random order, each row once before any comes twice.

        Raises TaskError, naming the row."""
        return draw_from(self._tasks(), n, rng, split, self.holdout, self.path, _together)

    def _tasks(self) -> tuple[Task, ...]:
        from agentgym.envs.tasks.sql_rows import read_tasks

        path = Path(self.path)
        if not path.is_file():
            raise TaskError(f"there is no file {self.path!r} (looked in {Path.cwd()})")
        folder = Path(self.databases) if self.databases else _beside(path)
        if not folder.exists():
            raise TaskError(f"there are no databases in {str(folder)!r} (looked in {Path.cwd()})")
        seed = self.seed if self.second and self.answers_with == "query" else None
        return read_tasks(path, path.stat().st_mtime_ns, folder, self.dialect, self.answers_with, seed)


def _beside(path: Path) -> Path:
    found = (path.parent / name for name in FOLDERS if (path.parent / name).is_dir())
    return next(found, path.parent / FOLDERS[0])


def _together(task: Task) -> str:
    return f"{task.info['db_id']} {' '.join(str(task.info.get('gold', task.id)).casefold().split())}"
