"""Rows of text-to-SQL sets, brought into one form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentgym.database import Dialect, Template
from agentgym.envs.schemas.csv_folder import read_csv_folder
from agentgym.envs.schemas.second import Second, second_databases
from agentgym.envs.tasks.json_file import read_json
from agentgym.errors import TaskError
from agentgym.types import Task

QUERIES = ("query", "SQL", "sql", "answer")
HINTS = ("evidence", "instructions", "context")
"""What a set gives along with the question."""
_OWN = (*QUERIES, "id", "question", "acceptable_sql", "db_name")
Row = Mapping[str, Any]


@lru_cache(maxsize=8)
def read_tasks(
    path: Path, modified: int, folder: Path, dialect: Dialect, answers_with: str, seed: int | None
) -> tuple[Task, ...]:
    """The tasks of a file; read again when `modified` changes. seed: for the second databases; None: there are
    none. Raises TaskError."""
    rows = [_plain(row, where, number, path) for number, (where, row) in enumerate(_rows(path), 1)]
    templates = {name: _template(folder, name, dialect) for name in dict.fromkeys(row["db_id"] for row in rows)}
    seconds: dict[tuple[str, str], Second] = {}
    if seed is not None:
        queries: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            queries[row["db_id"]].append(row["answer"])
        for name, golds in queries.items():
            found = second_databases(templates[name], golds, seed)
            seconds |= {(name, sql): second for sql, second in found.items()}
    return tuple(
        _task(row, templates[row["db_id"]], answers_with, seconds.get((row["db_id"], row["answer"])))
        for row in rows
    )


def _task(row: Row, template: Template, answers_with: str, second: Second | None) -> Task:
    info: dict[str, Any] = {key: value for key, value in row.items() if key not in _OWN and value is not None}
    info |= {"database": template.to_table(), "answers_with": answers_with}
    if answers_with == "query":
        golds = list(dict.fromkeys([row["answer"], *(row.get("acceptable_sql") or [])]))
        info["gold"] = golds if len(golds) > 1 else golds[0]
    if second:
        info["second"] = second.template.to_table()
        info |= {"gold_empty": True} if second.empty else {"gold_same": True} if second.same else {}
    hints = [str(row[key]) for key in HINTS if row.get(key)]
    return Task(row["id"], "\n".join([*hints, row["question"]]), row["answer"], info)


def _plain(row: Row, where: str, number: int, path: Path) -> dict[str, Any]:
    """id, question, answer (a query or a value) and db_id, with the row's other fields."""
    answer = next((row[key] for key in QUERIES if row.get(key) not in (None, "", [])), None)
    if not row.get("question") or answer is None:
        raise TaskError(f"{where}: a row needs a question and an answer; it has {', '.join(row) or 'nothing'}")
    name = str(row.get("db_id", row.get("db_name", "")))
    identity = str(row.get("id", row.get("question_id", f"{path.stem}-{number}")))
    return {**row, "id": identity, "question": str(row["question"]), "answer": str(answer).strip(), "db_id": name}


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    rows = read_json(path)
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        where = f"{path}: row {number}"
        if not isinstance(row, Mapping):
            raise TaskError(f"{where}: a row must be an object, not {type(row).__name__}")
        if "sentences" in row:
            yield from ((where, filled) for filled in _sentences(row, number))
        else:
            yield where, row


def _sentences(row: Row, number: int) -> Iterator[Row]:
    """text2sql-data has a query once for all sentences that ask it, with variables in both."""
    for at, sentence in enumerate(row["sentences"]):
        question, sql = sentence["text"], row["sql"][0]
        for name, value in sentence["variables"].items():
            question, sql = question.replace(name, value), sql.replace(name, value)
        splits = {"query_split": row.get("query-split"), "question_split": sentence.get("question-split")}
        yield {"id": f"{number - 1}-{at}", "question": question, "answer": sql, **splits}


def _template(folder: Path, name: str, dialect: Dialect) -> Template:
    ending = "duckdb" if dialect == "duckdb" else "sqlite"
    if folder.is_file():
        return Template(dialect, str(folder.resolve()))
    places = [folder / f"{name}.{ending}", folder / name / f"{name}.{ending}"] if name else []
    places += [] if name else sorted(folder.glob(f"*.{ending}"))
    for place in places:
        if place.is_file():
            return Template(dialect, str(place.resolve()))
    if any((folder / name).glob("*.csv")):
        return Template(dialect, script=read_csv_folder(folder / name, dialect))
    looked = " or ".join(str(place) for place in places) or f"{folder}/*.{ending}"
    raise TaskError(f"there is no database {name!r}: looked for {looked}, and for .csv files in {folder / name}")
