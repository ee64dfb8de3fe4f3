"""Public text-to-SQL sets in their own layouts."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest

from agentgym.envs.tasks.source import task_source
from agentgym.errors import TaskError
from agentgym.types import Task

PETS = """
create table owner (id integer primary key, name text);
create table pet (id integer primary key, owner integer references owner(id), kind text, age integer);
insert into owner values (1, 'Ann'), (2, 'Bob');
insert into pet values (1, 1, 'dog', 3), (2, 1, 'cat', 5), (3, 2, 'dog', 9);
"""
COUNT, OLD = "SELECT count(*) FROM pet WHERE kind = 'dog'", "SELECT kind FROM pet WHERE age > 50"


def database(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file)
    connection.executescript(PETS)
    connection.close()
    return file


def write(file: Path, rows: Any) -> str:
    lines = "".join(json.dumps(row) + "\n" for row in rows) if file.suffix == ".jsonl" else json.dumps(rows)
    file.write_text(lines, encoding="utf-8")
    return str(file)


def everything(path: str, **fields: Any) -> list[Task]:
    return task_source({"name": "text_to_sql", "path": path, **fields}).draw(None, random.Random(0), "all")


def found(task: Task, key: str, sql: str) -> list[Any]:
    info = task.info[key]
    connection = sqlite3.connect(info.get("file", ":memory:"))
    connection.executescript(info.get("script", ""))
    return connection.execute(sql).fetchall()


def check(tasks: list[Task]) -> None:
    """Both questions, on both databases."""
    counted, old = tasks
    assert (counted.answer, counted.info["gold"], counted.info["answers_with"]) == (COUNT, COUNT, "query")
    assert found(counted, "database", COUNT) == [(2,)]
    assert found(counted, "second", COUNT) != [(2,)]
    assert found(old, "database", OLD) == []
    assert found(old, "second", OLD)
    assert not {"gold_empty", "gold_same"} & (counted.info.keys() | old.info.keys())


def test_spiders_layout(tmp_path: Path) -> None:
    database(tmp_path / "database" / "pets" / "pets.sqlite")
    rows = [
        {
            "db_id": "pets",
            "question": "How many dogs?",
            "query": COUNT,
            "sql": {"select": []},
            "query_toks": ["SELECT"],
        },
        {"db_id": "pets", "question": "Which are old?", "query": OLD, "sql": {"select": []}},
    ]
    tasks = everything(write(tmp_path / "dev.json", rows))
    check(tasks)
    assert [task.id for task in tasks] == ["dev-1", "dev-2"]
    assert tasks[0].prompt == "How many dogs?"


def test_birds_layout(tmp_path: Path) -> None:
    database(tmp_path / "dev_databases" / "pets" / "pets.sqlite")
    row = {"question_id": 7, "db_id": "pets", "evidence": "dog is a kind", "difficulty": "simple"}
    rows = [
        {**row, "question": "How many dogs?", "SQL": COUNT},
        {**row, "question_id": 8, "evidence": "", "question": "Which are old?", "SQL": OLD},
    ]
    tasks = everything(write(tmp_path / "dev.json", rows))
    check(tasks)
    assert [task.id for task in tasks] == ["7", "8"]
    assert [task.prompt for task in tasks] == ["dog is a kind\nHow many dogs?", "Which are old?"]
    assert tasks[0].info["difficulty"] == "simple"


def test_text2sql_datas_layout(tmp_path: Path) -> None:
    row = {
        "query-split": "train",
        "sentences": [
            {"text": "how many kind0 are there", "variables": {"kind0": "dog"}, "question-split": "dev"},
            {"text": "count the kind0", "variables": {"kind0": "dog"}, "question-split": "train"},
        ],
        "sql": [COUNT.replace("dog", "kind0"), "another spelling"],
        "variables": [{"name": "kind0", "example": "cat", "type": "kind"}],
    }
    tasks = everything(write(tmp_path / "pets.json", [row]), databases=str(database(tmp_path / "pets-db.sqlite")))
    assert [task.prompt for task in tasks] == ["how many dog are there", "count the dog"]
    assert {task.answer for task in tasks} == {COUNT}
    assert tasks[0].info["question_split"] == "dev"
    assert found(tasks[0], "second", COUNT) != [(2,)]


def test_several_right_queries(tmp_path: Path) -> None:
    database(tmp_path / "databases" / "pets.sqlite")
    other = "SELECT kind, count(*) FROM pet WHERE kind = 'dog'"
    row = {
        "id": "a",
        "question": "How many dogs?",
        "answer": COUNT,
        "acceptable_sql": [COUNT, other],
        "db_id": "pets",
    }
    [task] = everything(write(tmp_path / "set.jsonl", [{**row, "instructions": "Dogs are a kind."}]))
    assert task.info["gold"] == [COUNT, other]
    assert task.prompt == "Dogs are a kind.\nHow many dogs?"


def test_answers_that_are_values_from_a_folder_of_logs(tmp_path: Path) -> None:
    """ExCyTIn's: tables as .csv files of each incident, questions with a context and a value."""
    folder = tmp_path / "databases" / "incident_5"
    folder.mkdir(parents=True)
    (folder / "Alerts.csv").write_text(
        'Time,Host,Score\n2024-06-01 10:00:00,"web, 1",7\n2024-06-02 11:30:00,db2,9.5\n'
    )
    (folder / "Sign ins.csv").write_text("Account,Address\nann,10.0.0.1\n")
    row = {"db_id": "incident_5", "context": "An alert was raised.", "question": "Which host?", "answer": "db2"}
    for dialect in ("sqlite", "duckdb"):
        [task] = everything(write(tmp_path / "q.json", [row]), answers_with="value", dialect=dialect)
        assert (task.prompt, task.answer) == ("An alert was raised.\nWhich host?", "db2")
        assert task.info["answers_with"] == "value"
        assert "second" not in task.info
        connection: Any = sqlite3.connect(":memory:") if dialect == "sqlite" else duckdb.connect(":memory:")
        (connection.executescript if dialect == "sqlite" else connection.execute)(task.info["database"]["script"])
        assert connection.execute("select Host from Alerts where Score > 8").fetchall() == [("db2",)]
        assert connection.execute('select * from "Sign ins"').fetchall() == [("ann", "10.0.0.1")]


def test_questions_of_one_query_stay_on_one_side(tmp_path: Path) -> None:
    database(tmp_path / "databases" / "pets.sqlite")
    rows = [
        {"id": f"{i} {again}", "question": "?", "answer": f"SELECT id FROM pet WHERE age > {i}", "db_id": "pets"}
        for i in range(100)
        for again in range(3)
    ]
    source = task_source({"name": "text_to_sql", "path": write(tmp_path / "s.jsonl", rows), "second": False})
    sides = {split: source.draw(None, random.Random(0), split) for split in ("train", "eval")}  # type: ignore[arg-type]
    queries = {split: {task.answer for task in tasks} for split, tasks in sides.items()}
    assert not queries["train"] & queries["eval"]
    assert 3 <= len(queries["eval"]) <= 25
    assert sum(map(len, sides.values())) == 300
    assert "second" not in sides["train"][0].info


def test_the_same_seed_makes_the_same_second_database(tmp_path: Path) -> None:
    database(tmp_path / "databases" / "pets.sqlite")
    path = write(tmp_path / "s.jsonl", [{"question": "?", "answer": COUNT, "db_id": "pets"}])
    scripts = [everything(path, seed=seed)[0].info["second"]["script"] for seed in (0, 0, 1)]
    assert scripts[0] == scripts[1] != scripts[2]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"question": "?", "answer": COUNT, "db_id": "absent"}], "there is no database 'absent': looked for"),
        ([{"question": "?", "db_id": "pets"}], "row 1: a row needs a question and an answer"),
        ([{"answer": COUNT, "db_id": "pets"}], "row 1: a row needs a question and an answer"),
        ([{"question": "?", "answer": "SELEC 1 FROM", "db_id": "pets"}], "gold query"),
        ([5], "row 1: a row must be an object"),
    ],
)
def test_rows_that_are_wrong(tmp_path: Path, rows: Any, complaint: str) -> None:
    database(tmp_path / "databases" / "pets.sqlite")
    with pytest.raises(TaskError, match=complaint):
        everything(write(tmp_path / "set.jsonl", rows))


def test_files_that_are_not_there_or_no_databases(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no file .*absent\.json"):
        everything(str(tmp_path / "absent.json"))
    path = write(tmp_path / "set.jsonl", [{"question": "?", "answer": COUNT, "db_id": "pets"}])
    with pytest.raises(TaskError, match="there are no databases"):
        everything(path)
    (tmp_path / "databases").mkdir()
    (tmp_path / "databases" / "pets.sqlite").write_text("this is no database, however long it may be" * 50)
    with pytest.raises(TaskError, match="no database of sqlite"):
        everything(path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(TaskError, match="not JSON"):
        everything(str(tmp_path / "bad.json"))
