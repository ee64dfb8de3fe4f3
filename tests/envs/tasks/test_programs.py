"""Sets of programming problems: rows become tasks whose solutions pass, and say what they lack."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from agentgym.envs.code_grading import CodeGraders
from agentgym.envs.code_tests import call_tests, find_tests
from agentgym.envs.tasks.source import task_source
from agentgym.errors import TaskError
from agentgym.sandboxes.local import Local
from agentgym.types import Task

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "from typing import Any\n\ndef twice(x):\n    return 2 * x\n\ndef four(xs: Any):\n    'Four.'\n",
    "canonical_solution": "    return [twice(twice(x)) for x in xs]\n",
    "entry_point": "four",
    "test": "def check(candidate):\n    xs = [1, 2]\n    assert candidate(xs) == [twice(2 * x) for x in xs]\n",
}
MBPP = {
    "task_id": 601,
    "text": "Write a function to find the longest chain.",
    "code": "class Pair:\n    def __init__(self, a, b=1): self.a = a\ndef chain(arr, n):\n    return arr[n].a",
    "test_list": ["assert chain([Pair(5, 24)], 0) == 5", "assert chain([Pair(1), p], 1) == 2"],
    "test_setup_code": "p = Pair(2)",
    "challenge_test_list": [],
}
ADD = "print(sum(map(int, input().split())))"
CONTEST = {
    "description": "Add.",
    "public_tests": {"input": ["1 2"], "output": ["3"]},
    "private_tests": {"input": ["3 4"], "output": ["7"]},
    "solution": ADD,
}
PLAIN = {
    "HumanEval": {
        "question": HUMANEVAL["prompt"],
        "answer": HUMANEVAL["canonical_solution"],
        "entry_point": "four",
        "test": HUMANEVAL["test"],
    },
    "MBPP": {
        "question": MBPP["text"],
        "answer": MBPP["code"],
        **{k: MBPP[k] for k in ("test_list", "test_setup_code")},
    },
    "streams": {"question": "Add.", "answer": {"inputs": ["1 2"], "outputs": ["3"]}, "solution": ADD},
}


ROWS = [HUMANEVAL, MBPP, CONTEST, *PLAIN.values()]


def read(folder: Path, rows: list[dict[str, Any]]) -> list[Task]:
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return task_source(str(path)).draw(None, random.Random(0), "all")


async def test_solutions_pass_their_rows_tests_and_others_do_not(tmp_path: Path) -> None:
    grader = await CodeGraders(Local()).open()
    wrong = "def four(xs): return xs\ndef chain(*a): return 5\nprint(7)"
    try:
        for task in read(tmp_path, [{"id": str(number), **row} for number, row in enumerate(ROWS)]):
            tests = find_tests(task)
            assert tests.reference is not None
            assert (await grader.grade(tests.reference, tests)).right, task
            assert not (await grader.grade(wrong, tests)).right
    finally:
        await grader.close()


def test_official_rows_get_their_ids_and_names(tmp_path: Path) -> None:
    tasks = read(tmp_path, [HUMANEVAL, MBPP])
    assert [task.id for task in tasks] == ["HumanEval/0", "601"]
    assert "chain(arr, n)" in str(tasks[1].prompt)
    assert "Pair(a, b=1)" in str(tasks[1].prompt)
    assert "24" not in str(tasks[1].prompt)


def test_tests_that_are_not_python_are_refused_by_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"set\.jsonl:1: the tests or the solution are not Python"):
        read(tmp_path, [{**MBPP, "test_list": ["assert ("]}])


def test_names_are_those_of_the_program() -> None:
    tests = call_tests("for x in [1]:\n    assert math.isclose(f(x), sum([x]))\nassert Pair(1).x", None)
    assert set(tests.names) == {"f", "Pair"}
    assert tests.tests.startswith("import math\n")
    assert call_tests("assert sum([1]) == 1", "def sum(xs): ...").names == ("sum",), (
        "the program's own, not Python's"
    )
