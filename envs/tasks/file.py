"""Tasks from a JSON Lines or Parquet file or a Hugging Face dataset."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from agentgym.env import Split
from agentgym.envs.tasks.splits import draw_from
from agentgym.errors import TaskError
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class File:
    """Rows with `id`, `prompt` or `question`, `answer`, `info`; other columns join `info`.

    path: a .jsonl or .parquet file, or a dataset's id (with its `subset` and `part`, the dataset's own split).
    holdout: share of the rows, chosen by a hash of their ids, that only evaluation sees.
    """

    path: str
    holdout: float = 0.1
    subset: str | None = None
    part: str = "train"

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """All in the file's order for None; else in random order, each row once before any comes twice.

        Raises TaskError, naming file and line."""
        return draw_from(self._rows(), n, rng, split, self.holdout, self.path)

    def _rows(self) -> tuple[Task, ...]:
        from agentgym.envs.tasks import rows

        if not self.path.endswith((".jsonl", ".parquet")):
            return rows.from_hub(self.path, self.subset, self.part)
        path = Path(self.path)
        if not path.is_file():
            raise TaskError(f"there is no file {self.path!r} (looked in {Path.cwd()})")
        return rows.from_file(path, path.stat().st_mtime_ns)
