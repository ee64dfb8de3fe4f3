"""What sets of long conversations have in common: rows of JSON that become a task of parts and questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.envs.tasks.json_file import read_json
from agentgym.errors import TaskError
from agentgym.types import Task


def json_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """The objects in a .json list or a .jsonl file. Raises TaskError."""
    rows = read_json(file)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise TaskError(f"{file}: must be a list of objects, or a line of JSON for each")
    yield from rows


def one_task(name: str, parts: Sequence[Mapping[str, Any]], questions: Sequence[Mapping[str, Any]]) -> Task:
    """A task of env `memory`."""
    asked, answers = ("\n".join(str(row[key]) for row in questions) for key in ("question", "answer"))
    return Task(name, asked, answers, {"parts": parts, "questions": questions})
