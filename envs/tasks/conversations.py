"""What sets of long conversations have in common: rows of JSON that become a task of parts and questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.errors import TaskError
from agentgym.types import Task


def json_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """The objects in a .json list or a .jsonl file. Raises TaskError."""
    try:
        text = file.read_text(encoding="utf-8")
        lines = [line for line in text.split("\n") if line.strip()] if file.suffix == ".jsonl" else []
        rows = [json.loads(line) for line in lines] if lines else json.loads(text)
    except (OSError, ValueError) as error:
        raise TaskError(f"{file}: cannot be read: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise TaskError(f"{file}: must be a list of objects, or a line of JSON for each")
    yield from rows


def one_task(name: str, parts: Sequence[Mapping[str, Any]], questions: Sequence[Mapping[str, Any]]) -> Task:
    """A task of env `memory`."""
    asked, answers = ("\n".join(str(row[key]) for row in questions) for key in ("question", "answer"))
    return Task(name, asked, answers, {"parts": parts, "questions": questions})
