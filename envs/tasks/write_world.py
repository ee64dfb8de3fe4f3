"""A world as files: a corpus that any retriever can index, and questions for any trainer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym.envs.tasks.fictional import Fictional
from agentgym.envs.worlds.passages import passages
from agentgym.envs.worlds.world import Astray, World
from agentgym.errors import ConfigError
from agentgym.types import Task


@dataclass(frozen=True, kw_only=True)
class WorldFiles:
    """seed: of the world. questions: how many to ask. passages, misleading, filler, astray: see World.
    hops, easy_fraction: see `tasks/fictional.py`."""

    seed: int = 0
    questions: int = 500
    passages: int = 1000
    misleading: float = 0.5
    filler: int = 0
    hops: tuple[int, ...] = (1, 2)
    easy_fraction: float = 0.0
    astray: tuple[Astray, ...] = World.astray

    def __post_init__(self) -> None:
        self._parts()

    def _parts(self) -> tuple[World, Fictional]:
        world = World(self.seed, self.passages, self.misleading, self.filler, tuple(self.astray))
        return world, Fictional(hops=self.hops, easy_fraction=self.easy_fraction)

    def write(self, folder: Path) -> list[Path]:
        """corpus.jsonl and questions.jsonl in a new folder. Raises ConfigError where there are such files."""
        world, source = self._parts()
        rows = ({"id": p.id, "title": p.title, "text": p.text, **p.more} for p in passages(world))
        questions = (_row(task) for task in source.ask(world, random.Random(self.seed), self.questions))
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(folder / "corpus.jsonl", rows), _write(folder / "questions.jsonl", questions)]


def _row(task: Task) -> dict[str, Any]:
    facts = {key: value for key, value in task.info.items() if key != "world"}
    return {"id": task.id, "question": task.prompt, "answer": task.answer, **facts}


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    try:
        with file.open("x", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    return file
