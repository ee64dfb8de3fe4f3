"""Rows of task files: the plain form, and verl's (`reward_model.ground_truth`, `extra_info`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentgym import qa
from agentgym.envs.tasks import programs
from agentgym.errors import TaskError
from agentgym.types import Message, Task

_OWN = ("id", "prompt", "question", "answer", "info", "reward_model", "extra_info")


@lru_cache(maxsize=8)
def from_file(path: Path, modified: int) -> tuple[Task, ...]:
    """The tasks of a .jsonl or .parquet file; read again when `modified` changes. Raises TaskError."""
    return _tasks(_jsonl(path) if path.suffix == ".jsonl" else _parquet(path), path.stem)


@lru_cache(maxsize=8)
def from_hub(name: str, subset: str | None, part: str) -> tuple[Task, ...]:
    """The tasks of a Hugging Face dataset. Raises TaskError."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise TaskError(
            f"tasks {name!r}: neither a .jsonl nor a .parquet file; to read it from the Hugging Face Hub, install "
            "the package datasets (the extra `hub`)"
        ) from error
    try:
        rows = load_dataset(name, subset, split=part)
    except Exception as error:
        raise TaskError(f"tasks {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    return _tasks(((f"{name}:{i}", dict(row)) for i, row in enumerate(rows, 1)), name)


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path}:{number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(f"{path}:{number}: not JSON: {error}") from error
        except UnicodeDecodeError as error:
            raise TaskError(f"{path}: not UTF-8: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        table = read_table(path)
    except (ArrowException, OSError) as error:
        raise TaskError(f"{path}: not Parquet: {error}") from error
    return ((f"{path}:{i}", row) for i, row in enumerate(table.to_pylist(), 1))


def _tasks(rows: Iterable[tuple[str, Any]], name: str) -> tuple[Task, ...]:
    tasks: dict[str, Task] = {}
    for number, (where, row) in enumerate(rows, 1):
        task = _task(row, where, f"{name}-{number}")
        if task.id in tasks:
            raise TaskError(f"{where}: id {task.id!r} was already used above")
        tasks[task.id] = task
    return tuple(tasks.values())


def _task(row: Any, where: str, default_id: str) -> Task:
    if not isinstance(row, Mapping):
        raise TaskError(f"{where}: a row must be an object, not {type(row).__name__}")
    try:
        row = programs.with_tests(row)
    except SyntaxError as error:
        raise TaskError(f"{where}: the tests or the solution are not Python: {error}") from error
    table = {key: value for key, value in row.items() if value is not None}
    extra = {key: value for key, value in table.items() if key not in _OWN}
    for key in ("extra_info", "info"):
        value = table.get(key, {})
        if not isinstance(value, Mapping):
            raise TaskError(f"{where}: {key} must be an object, not {type(value).__name__}")
        extra |= value
    several = table.get("answer")
    if isinstance(several, list) and several and all(isinstance(one, str) for one in several):
        table, extra = {**table, "answer": several[0]}, {"answers": several, **extra}  # any of them is right
    return Task(str(table.get("id", default_id)), _prompt(table, where), _answer(table, where), extra)


def _prompt(row: Mapping[str, Any], where: str) -> str | list[Message]:
    prompt = row.get("prompt", row.get("question", _each(row, "question")))
    if isinstance(prompt, str) and prompt.strip():
        return prompt
    if not prompt:
        raise TaskError(f"{where}: a row needs a prompt or a question; it has {', '.join(row) or 'nothing'}")
    messages = prompt if isinstance(prompt, list) else []
    if not all(isinstance(m, Mapping) and {"role", "content"} <= m.keys() for m in messages) or not messages:
        raise TaskError(f"{where}: the prompt must be text or a list of messages with role and content")
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def _each(row: Mapping[str, Any], name: str) -> str:
    """What stands in every one of several questions, a line each; nothing where that is not so."""
    questions = row.get("questions")
    rows = questions if isinstance(questions, list) else []
    whole = all(isinstance(question, Mapping) and name in question for question in rows)
    return "\n".join(str(question[name]) for question in rows) if whole else ""


def _answer(row: Mapping[str, Any], where: str) -> str:
    reward_model = row.get("reward_model")
    verified = reward_model.get("ground_truth") if isinstance(reward_model, Mapping) else None
    several = qa.texts(row.get("golden_answers", row.get("answers")))
    answer = row.get("answer", several[0] if several else _each(row, "answer") or verified)
    if answer is None or answer == "" or answer == []:
        raise TaskError(f"{where}: a row needs an answer; it has {', '.join(row) or 'nothing'}")
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return text.rpartition("\n#### ")[2].strip()  # GSM8K's files give the solution first
