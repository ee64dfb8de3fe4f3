"""Corpora as they are met: several forms, and files that something happened to."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentgym.errors import TaskError
from agentgym.retriever import Passage
from agentgym.retrievers.corpus import Account, read_corpus

ROWS = [
    {"doc_id": "d1", "title": "Tea", "text": "A drink.", "year": 1900},
    {"doc_id": "d2", "title": "Ogród", "text": "Zażółć gęślą jaźń", "year": 1901},
]
PASSAGES = [
    Passage("d1", "Tea", "A drink.", {"year": 1900}),
    Passage("d2", "Ogród", "Zażółć gęślą jaźń", {"year": 1901}),
]


def lines(*rows: object) -> bytes:
    return b"".join(
        (row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()) + b"\n" for row in rows
    )


def write(path: Path, *rows: object) -> Path:
    path.write_bytes(lines(*rows))
    return path


def test_all_forms_of_file_say_the_same(tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", *ROWS)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines(*ROWS)))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet")
    for name in ("c.jsonl", "c.jsonl.gz", "c.parquet"):
        assert list(read_corpus([tmp_path / name])) == PASSAGES


@pytest.mark.parametrize(
    ("row", "passage"),
    [
        ({"id": 7, "contents": '"Tea"\nIt is good.\nAnd hot.'}, Passage("7", "Tea", "It is good.\nAnd hot.")),
        ({"id": "a", "contents": "One line"}, Passage("a", "", "One line")),
        ({"_id": "b", "title": "T", "contents": "x\ny"}, Passage("b", "T", "x\ny")),
        (
            {"_id": "c", "id": "", "text": "x", "metadata": {"u": 1}},
            Passage("c", "", "x", {"id": "", "metadata": {"u": 1}}),
        ),
        ({"text": "no id"}, Passage("c-1", "", "no id")),
        ({"id": "e", "title": "Only a title", "text": ""}, Passage("e", "Only a title", "")),
        ({"id": "f", "title": None, "text": "x" * 2**20}, Passage("f", "", "x" * 2**20)),
        (b'\xef\xbb\xbf{"id": "g", "text": "x"}\r', Passage("g", "", "x")),
    ],
)
def test_forms_of_row(tmp_path: Path, row: object, passage: Passage) -> None:
    [found] = read_corpus([write(tmp_path / "c.jsonl", row)])
    assert found == passage


BROKEN = [
    (b'{"id": "x", "text": "tor', "not JSON"),
    (b'["x"]', "not a JSON object (list)"),
    (b'{"id": "x", "text": "a\0b"}', "a NUL byte"),
    (b'{"id": "x", "text": "caf\xe9"}', "not UTF-8"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"id": "x", "text": " ", "title": ""}', "an empty text without a title"),
    (b'{"id": "x", "body": "y"}', "no text and no contents (it has id, body)"),
    (b'{"id": "x", "text": 3}', "text is no string (int)"),
    (b'{"id": ["x"], "text": "y"}', "id is no string (list)"),
    (b'{"id": "x", "title": true, "text": "y"}', "title is no string (bool)"),
    (b'{"id": "same", "text": "again"}', "an id that came before ('same')"),
]


@pytest.mark.parametrize(("line", "said"), BROKEN)
def test_a_row_that_is_no_passage_is_told_with_its_line(tmp_path: Path, line: bytes, said: str) -> None:
    file = write(tmp_path / "c.jsonl", {"id": "same", "text": "first"}, b"", line, {"id": "after", "text": "z"})
    account = Account()
    assert [passage.id for passage in read_corpus([file], account)] == ["same", "after"]
    [skipped] = account.skipped.values()
    assert (account.passages, skipped.count) == (2, 1)
    assert f"c.jsonl:3: {said}" in skipped.examples[0]
    with pytest.raises(TaskError) as refused:
        list(read_corpus([file], strict=True))
    assert f"c.jsonl:3: {said}" in str(refused.value)


def test_many_broken_rows_are_counted_and_the_first_shown(tmp_path: Path) -> None:
    account = Account()
    assert not list(read_corpus([write(tmp_path / "c.jsonl", *[b"{"] * 1000, *[[]] * 10)], account))
    counts = {reason: (skipped.count, len(skipped.examples)) for reason, skipped in account.skipped.items()}
    assert counts == {"not JSON": (1000, 3), "not a JSON object": (10, 3)}


def test_ids_made_up_for_files_of_the_same_name_differ(tmp_path: Path) -> None:
    files = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        files.append(write(tmp_path / name / "c.jsonl", {"text": name}))
    found = list(read_corpus(files))
    assert [passage.text for passage in found] == ["x", "y"]
    assert len({passage.id for passage in found}) == 2


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.parquet"])
def test_a_file_cut_short_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    whole = tmp_path / "whole"
    if name.endswith("gz"):
        whole.write_bytes(gzip.compress(lines(*ROWS * 500)))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS * 500), whole)
    (tmp_path / name).write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(TaskError, match=f"{name}: (cannot be read to its end|not a whole Parquet)"):
        list(read_corpus([tmp_path / name]))


def test_files_that_cannot_be_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("x")
    for name, said in {"c.txt": ".jsonl, .jsonl.gz or .parquet is needed", "no.jsonl": "no such file"}.items():
        with pytest.raises(TaskError, match=said):
            list(read_corpus([tmp_path / name]))


def test_a_corpus_is_streamed(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    with file.open("w") as out:
        for i in range(400):
            out.write(json.dumps({"id": str(i), "text": "x" * 100_000}) + "\n")
    tracemalloc.start()
    assert sum(1 for _ in read_corpus([file])) == 400
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 < file.stat().st_size


def test_a_line_without_end_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentgym.retrievers.corpus.MAX_LINE", 2**20)
    file = write(tmp_path / "c.jsonl", {"id": "a", "text": "x" * 3_000_000}, {"id": "b", "text": "y"})
    account = Account()
    assert [passage.id for passage in read_corpus([file], account)] == ["b"]
    assert "a line longer than 1 MiB" in account.skipped
