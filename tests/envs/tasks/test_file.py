"""Task files: both forms of rows, splits, and errors that name file and line."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest

from agentgym.envs.tasks.source import task_source
from agentgym.errors import TaskError
from agentgym.qa import right_answers
from agentgym.types import Task


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def everything(path: str) -> list[Task]:
    return task_source(path).draw(None, random.Random(0), "all")


def test_plain_rows(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "1+1?", "answer": "2", "level": 3},
        {"prompt": "1+2?", "answer": 3, "info": {"hint": "count"}},
        {"id": 7, "question": "How many?", "answer": "One and one.\n#### 2"},
    ]
    assert everything(write(tmp_path / "set.jsonl", rows)) == [
        Task("a", "1+1?", "2", {"level": 3}),
        Task("set-2", "1+2?", "3", {"hint": "count"}),
        Task("7", "How many?", "2", {}),
    ]


def test_rows_in_verls_form(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "1+1?"}]
    row = {
        "data_source": "sums",
        "prompt": messages,
        "reward_model": {"style": "rule", "ground_truth": "2"},
        "extra_info": {"index": 4},
    }
    assert everything(write(tmp_path / "set.jsonl", [row])) == [
        Task("set-1", messages, "2", {"data_source": "sums", "index": 4})
    ]


def test_rows_with_several_right_answers_and_no_first_one(tmp_path: Path) -> None:
    rows = [
        {
            "id": "a",
            "question": "?",
            "golden_answers": ["Rome", "Roma"],
            "reward_model": {"ground_truth": {"x": 1}},
        },
        {"id": "b", "question": "?", "answers": {"text": ["Rome"], "answer_start": [0]}},
    ]
    assert [task.answer for task in everything(write(tmp_path / "set.jsonl", rows))] == ["Rome", "Rome"]


def test_an_answer_may_be_a_list_of_right_ones(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "?", "answer": ["Candlewood", "Candlewood Lake"]}]
    [task] = everything(write(tmp_path / "set.jsonl", rows))
    assert task == Task("a", "?", "Candlewood", {"answers": ["Candlewood", "Candlewood Lake"]})
    assert right_answers(task) == ["Candlewood", "Candlewood", "Candlewood Lake"]


def test_parquet_reads_as_json_lines_do(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"id": str(i), "question": f"{i}?", "answer": str(i), "numbers": [i, 2]} for i in range(5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "set.parquet")
    assert everything(str(tmp_path / "set.parquet")) == everything(write(tmp_path / "set.jsonl", rows))


def test_a_tenth_is_held_out_whatever_the_order(tmp_path: Path) -> None:
    rows = [{"id": str(i), "question": "?", "answer": "1"} for i in range(1000)]
    source = task_source(write(tmp_path / "a.jsonl", rows))
    backwards = task_source(write(tmp_path / "b.jsonl", rows[::-1]))
    held_out = {task.id for task in source.draw(None, random.Random(0), "eval")}
    trained = {task.id for task in source.draw(None, random.Random(0), "train")}
    assert 70 < len(held_out) < 130
    assert held_out | trained == {row["id"] for row in rows}
    assert not held_out & trained
    assert held_out == {task.id for task in backwards.draw(None, random.Random(0), "eval")}


def test_every_row_comes_once_before_any_comes_twice(tmp_path: Path) -> None:
    rows = [{"id": str(i), "question": "?", "answer": "1"} for i in range(10)]
    drawn = task_source(write(tmp_path / "a.jsonl", rows)).draw(25, random.Random(0), "all")
    ids = [task.id for task in drawn]
    assert len(set(ids[:10])) == len(set(ids[10:20])) == 10
    assert ids[:10] != [row["id"] for row in rows]


def test_separate_evaluation_tasks_are_all_used_and_nothing_is_held_out(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [{"id": str(i), "question": "?", "answer": "1"} for i in range(50)])
    test = write(tmp_path / "test.jsonl", [{"id": f"t{i}", "question": "?", "answer": "1"} for i in range(20)])
    source = task_source(train, test)
    assert len(source.draw(None, random.Random(0), "train")) == 50
    assert {task.id for task in source.draw(None, random.Random(0), "eval")} == {f"t{i}" for i in range(20)}


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "1+1?", "answer": "2"}])
    source = task_source(path)
    assert source.draw(None, random.Random(0), "all")[0].answer == "2"
    write(tmp_path / "a.jsonl", [{"question": "1+1?", "answer": "10"}])
    assert source.draw(None, random.Random(0), "all")[0].answer == "10"


def test_a_row_may_have_several_questions(tmp_path: Path) -> None:
    asked = [{"question": "Who?", "answer": "Ada"}, {"question": "How many?", "answer": 7}]
    [task] = task_source(write(tmp_path / "a.jsonl", [{"questions": asked}])).draw(None, random.Random(0), "all")
    assert (task.prompt, task.answer, task.info["questions"]) == ("Who?\nHow many?", "Ada\n7", asked)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"question": "1+1?"', ":2: not JSON"),
        ("[1, 2]", ":2: a row must be an object, not list"),
        ('{"question": "1+1?"}', ":2: a row needs an answer; it has question"),
        ('{"question": "1+1?", "answer": null}', ":2: a row needs an answer"),
        ('{"question": "1+1?", "answer": ""}', ":2: a row needs an answer"),
        ('{"questions": [{"answer": "2"}]}', ":2: a row needs a prompt or a question; it has questions"),
        ('{"answer": "2"}', ":2: a row needs a prompt or a question; it has answer"),
        ('{"prompt": [{"text": "1+1?"}], "answer": "2"}', ":2: the prompt must be text or a list of messages"),
        ('{"question": "1+1?", "answer": "2", "info": 5}', ":2: info must be an object, not int"),
        ('{"id": "a", "question": "again", "answer": "2"}', ":2: id 'a' was already used"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": "a", "question": "?", "answer": "1"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(TaskError) as raised:
        everything(str(path))
    assert f"{path}{complaint}" in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no file .*absent\.jsonl"):
        everything(str(tmp_path / "absent.jsonl"))
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(TaskError, match=r"bad\.parquet: not Parquet"):
        everything(str(tmp_path / "bad.parquet"))
    (tmp_path / "bad.jsonl").write_bytes(b'{"question": "\xff"}\n')
    with pytest.raises(TaskError, match=r"bad\.jsonl: not UTF-8"):
        everything(str(tmp_path / "bad.jsonl"))
    few = write(tmp_path / "few.jsonl", [{"id": "a", "question": "?", "answer": "1"}])
    with pytest.raises(TaskError, match="none is in the eval split"):
        task_source(few).draw(1, random.Random(0), "eval")


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="the package datasets is installed")
def test_a_hub_dataset_needs_the_package_datasets() -> None:
    with pytest.raises(TaskError, match="install the package datasets"):
        everything("openai/gsm8k")
