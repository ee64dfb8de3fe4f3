"""LongMemEval (arXiv 2410.10813): what a user said to an assistant over many sessions, and a question about it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentgym.env import Split
from agentgym.envs.tasks.conversations import json_rows, one_task
from agentgym.envs.tasks.splits import draw_from
from agentgym.errors import TaskError
from agentgym.types import Task


@dataclass(frozen=True, slots=True)
class Longmemeval:
    """LongMemEval's conversations, a message a part. Evidence are the messages that the set marks with has_answer,
    where it does.

    path: LongMemEval's own .json, or a .jsonl with a question a row, whose `conversation` is a list of messages
    with their date. holdout: share of the tasks that only evaluation sees.
    """

    path: str
    holdout: float = 0.1

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """Raises TaskError for files of another form."""
        return draw_from(_tasks(self.path), n, rng, split, self.holdout, self.path)


@lru_cache(maxsize=4)
def _tasks(path: str) -> tuple[Task, ...]:
    return tuple(_task(path, row) for row in json_rows(Path(path)))


def _task(path: str, row: Mapping[str, Any]) -> Task:
    name = str(row.get("id", row.get("question_id")))
    try:
        parts = list(_parts(row))
        asked = f"{row['question_date']}: {row['question']}" if row.get("question_date") else row["question"]
        evidence = [part["id"] for part in parts if part.pop("evidence")]
        question = {"question": asked, "answer": str(row["answer"]), "evidence": evidence}
    except (KeyError, TypeError) as error:
        raise TaskError(f"{path}: {name} is not of LongMemEval's form: {type(error).__name__}: {error}") from error
    return one_task(name, parts, [{**question, "question_type": row.get("question_type")}])


def _parts(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if "conversation" in row:
        messages = [(message.get("date", ""), message) for message in row["conversation"]]
    else:
        sessions = zip(row["haystack_dates"], row["haystack_sessions"], strict=True)
        messages = [(date, message) for date, session in sessions for message in session]
    for number, (date, message) in enumerate(messages):
        text = f"{date}, {message['role']}: {message['content']}"
        yield {"id": str(number), "text": text, "evidence": bool(message.get("has_answer"))}
