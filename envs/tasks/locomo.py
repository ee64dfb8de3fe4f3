"""LoCoMo (arXiv 2402.17753): conversations of hundreds of turns over months, and questions about them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentgym.env import Split
from agentgym.envs.tasks.conversations import json_rows, one_task
from agentgym.envs.tasks.splits import draw_from
from agentgym.errors import TaskError
from agentgym.ranges import at_least
from agentgym.types import Task

NOT_MENTIONED = "not mentioned in the conversation"
_EVIDENCE = re.compile(r"D(\d+):0*(\d+)")  # several may stand in one text
_SESSION = re.compile(r"session_(\d+)")


@dataclass(frozen=True, slots=True)
class Locomo:
    """LoCoMo's conversations, a turn a part.

    path: LoCoMo's own .json, or a .jsonl with a conversation a row. questions: a .jsonl of questions with their
    conversation_id, where the conversations do not bring them (as `qa`). categories: of questions that are asked;
    Memory-R1 leaves out 5, those without an answer. questions_each: of an episode; None: all about a conversation.
    window: how many turns an episode has, up to the last that its questions need; None: the whole conversation.
    holdout: share of the tasks that only evaluation sees.
    """

    path: str
    questions: str = ""
    categories: tuple[int, ...] = (1, 2, 3, 4, 5)
    questions_each: int | None = 1
    window: int | None = None
    holdout: float = 0.1

    def __post_init__(self) -> None:
        at_least(self, 1, "questions_each", "window")

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """Raises TaskError for files of another form."""
        return draw_from(_tasks(self), n, rng, split, self.holdout, self.path)


@lru_cache(maxsize=4)
def _tasks(config: Locomo) -> tuple[Task, ...]:
    asked: dict[str, list[Mapping[str, Any]]] = {}
    for row in json_rows(Path(config.questions)) if config.questions else ():
        asked.setdefault(str(row.get("conversation_id")), []).append(row)
    tasks: list[Task] = []
    for row in json_rows(Path(config.path)):
        name = str(row.get("conversation_id", row.get("sample_id")))
        if not isinstance(row.get("conversation"), Mapping):
            raise TaskError(f"{config.path}: {name} has no conversation, which must be an object of sessions")
        try:
            questions = [_question(q) for q in (*(row.get("qa") or ()), *asked.get(name, ()))]
            parts = list(_parts(row["conversation"]))
        except (KeyError, TypeError) as error:
            raise TaskError(
                f"{config.path}: {name} is not of LoCoMo's form: {type(error).__name__}: {error}"
            ) from error
        questions = [question for question in questions if question["category"] in config.categories]
        each = config.questions_each or max(len(questions), 1)
        for first in range(0, len(questions), each):
            few = questions[first : first + each]
            tasks.append(one_task(f"{name} {first}", _cut(parts, few, config.window), few))
    return tuple(tasks)


def _parts(conversation: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    numbers = sorted(int(found[1]) for key in conversation if (found := _SESSION.fullmatch(key)))
    for number in numbers:
        date = conversation.get(f"session_{number}_date_time", "")
        for turn in conversation[f"session_{number}"]:
            photo = f" (a photo: {turn['blip_caption']})" if turn.get("blip_caption") else ""
            yield {"id": turn["dia_id"], "text": f"{date}, {turn['speaker']}: {turn['text']}{photo}"}


def _question(row: Mapping[str, Any]) -> dict[str, Any]:
    answer = NOT_MENTIONED if row["category"] == 5 else str(row["answer"])
    found = _EVIDENCE.findall(json.dumps(row.get("evidence") or []))
    evidence = [f"D{session}:{turn}" for session, turn in found]
    return {"question": row["question"], "answer": answer, "category": row["category"], "evidence": evidence}


def _cut(parts: list[dict[str, str]], questions: Sequence[Mapping[str, Any]], window: int | None) -> Any:
    if window is None:
        return parts
    needed = {name for question in questions for name in question["evidence"]}
    last = max((number for number, part in enumerate(parts) if part["id"] in needed), default=len(parts) - 1)
    return parts[max(0, last + 1 - window) : last + 1]
