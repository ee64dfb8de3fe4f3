"""Sets of long conversations: their own files, and what becomes of them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import StepResult
from agentgym.envs.memory import Memory
from agentgym.errors import TaskError
from agentgym.protocols.memory_r1 import Operation, write_answered, write_operations
from agentgym.services import Services
from agentgym.types import Task

TALK = {
    "session_2_date_time": "9 May",
    "session_2": [{"speaker": "Bo", "dia_id": "D2:1", "text": "Bye", "blip_caption": "a dog"}],
    "session_1_date_time": "8 May",
    "session_1": [{"speaker": "Ada", "dia_id": f"D1:{n}", "text": f"Thing {n}"} for n in (1, 2, 3)],
    "speaker_a": "Ada",
}
QA = [
    {"question": "Which?", "answer": 7, "category": 4, "evidence": ["D1:1; D1:02"]},
    {"question": "Why?", "adversarial_answer": "because", "category": 5, "evidence": ["D1:3"]},
    {"question": "Who?", "answer": "Bo", "category": 1, "evidence": ["D2:1", "D1:1"]},
]


def write(folder: Path, value: Any, name: str = "set.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(value), encoding="utf-8")
    return file


def load(name: str, file: Path, **fields: Any) -> list[Task]:
    tasks: list[Task] = build("tasks", {"name": name, "path": str(file), "holdout": 0.0, **fields}).draw(
        None, random.Random(0)
    )
    return tasks


def test_locomo_in_its_own_form(tmp_path: Path) -> None:
    file = write(tmp_path, [{"sample_id": "conv-1", "conversation": TALK, "qa": QA}])
    first, second, _ = load("locomo", file)
    assert [part["text"] for part in first.info["parts"]] == [
        *(f"8 May, Ada: Thing {n}" for n in (1, 2, 3)),
        "9 May, Bo: Bye (a photo: a dog)",
    ]
    assert (first.prompt, first.answer, first.info["questions"][0]["evidence"]) == (
        "Which?",
        "7",
        ["D1:1", "D1:2"],
    )
    assert second.answer == "not mentioned in the conversation"
    [every] = load("locomo", file, questions_each=None, categories=[1, 4])
    assert (every.prompt, every.answer) == ("Which?\nWho?", "7\nBo")
    cut = load("locomo", file, window=2)
    assert [[part["id"] for part in task.info["parts"]] for task in cut] == [
        ["D1:1", "D1:2"],
        ["D1:2", "D1:3"],
        ["D1:3", "D2:1"],
    ]


def test_longmemeval_in_its_own_form(tmp_path: Path) -> None:
    sessions = [
        [
            {"role": "user", "content": "I have a cat.", "has_answer": True},
            {"role": "assistant", "content": "Nice."},
        ],
        [{"role": "user", "content": "Bye."}],
    ]
    row = {"question_id": "q", "question": "Which pet?", "answer": "a cat", "question_date": "2 June"}
    file = write(tmp_path, [{**row, "haystack_dates": ["1 May", "1 June"], "haystack_sessions": sessions}])
    [task] = load("longmemeval", file)
    assert [part["text"] for part in task.info["parts"]] == [
        "1 May, user: I have a cat.",
        "1 May, assistant: Nice.",
        "1 June, user: Bye.",
    ]
    assert (task.prompt, task.answer) == ("2 June: Which pet?", "a cat")
    assert task.info["questions"][0]["evidence"] == ["0"]


@pytest.mark.parametrize(
    ("name", "rows", "why"),
    [
        ("locomo", {"a": 1}, "a list of objects"),
        ("locomo", [{"sample_id": "c", "qa": []}], "c has no conversation"),
        (
            "longmemeval",
            [{"question_id": "q", "question": "?", "haystack_dates": []}],
            "q is not of LongMemEval's form",
        ),
    ],
)
def test_files_of_another_form_are_refused(name: str, rows: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=why):
        load(name, write(tmp_path, rows))
    with pytest.raises(TaskError, match="cannot be read"):
        load(name, tmp_path / "absent.jsonl")


def real(data: Path, name: str) -> list[Task]:
    folder = data / "memory"
    if name == "longmemeval":
        return load(name, folder / "longmemeval_sample.jsonl")
    files = {"questions": str(folder / "locomo10_qa.jsonl")}
    return load(name, folder / "locomo10_conversations.jsonl", questions_each=None, **files)


async def add_everything(task: Task, **fields: Any) -> list[StepResult]:
    """An episode of a manager that adds every part, and an answerer that knows the answers."""
    async with Services() as services:
        env = Memory(prompt="plain", **fields).make(services)
        await env.reset(seed=0, options={"task": task})
        for part in env.parts:
            result = await env.step(write_operations([Operation("ADD", text=part["text"])]))
        assert len(env.bank.live) == len(env.parts)
        results = [result]
        results += [await env.step(write_answered([], str(row["answer"]))) for row in env.questions]
        await env.close()
    return results


async def test_a_conversation_of_locomo_is_remembered_and_its_evidence_found(data: Path) -> None:
    tasks = real(data, "locomo")
    assert sum(len(task.info["questions"]) for task in tasks) == 984
    shortest = min(tasks, key=lambda task: len(task.info["parts"]))
    done = (await add_everything(shortest, score="locomo", memory_tokens=60))[-1]
    assert len(shortest.info["parts"]) == 369
    assert done.info["em"] == done.info["locomo"] == 1.0, "right answers are right"
    assert 0.7 < done.info["recall"] < 1.0


async def test_longmemevals_conversations_are_remembered(data: Path) -> None:
    tasks = real(data, "longmemeval")
    assert len(tasks) == 9
    for task in tasks[:3]:
        assert (await add_everything(task))[-1].info["em"] == 1.0


def test_lines_end_where_json_lines_do(tmp_path: Path) -> None:
    """Not at separators of Unicode's, which a text may hold; and a line may be empty."""
    rows = [{"conversation_id": str(n), "conversation": TALK, "qa": QA[:1]} for n in range(2)]
    rows[0]["qa"] = [{**QA[0], "question": "Which\u2028one\x85?"}]
    file = tmp_path / "set.jsonl"
    file.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    assert [task.prompt for task in load("locomo", file)] == ["Which\u2028one\x85?", "Which?"]


@pytest.mark.parametrize("lacks", ["category", "answer", "question"])
def test_a_row_that_lacks_something_is_named(tmp_path: Path, lacks: str) -> None:
    question = {key: value for key, value in QA[0].items() if key != lacks}
    row = {"conversation_id": "talk 7", "conversation": TALK, "qa": [question]}
    with pytest.raises(TaskError, match=f"talk 7 is not of LoCoMo's form: KeyError: '{lacks}'"):
        load("locomo", write(tmp_path, [row]))
