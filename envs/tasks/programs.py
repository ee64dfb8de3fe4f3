"""Rows of sets of programming problems, recognised by their fields and turned into plain ones that bring tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentgym.envs.code_tests import CallTests, StreamTests, Tests, call_tests, signatures

Row = Mapping[str, Any]


def with_tests(row: Row) -> Row:
    """The row with `question`, `answer` and `tests` as the environment `code` reads them; other rows as they are.

    HumanEval's have `test` and `entry_point`, MBPP's `test_list`, those of programs on stdin and stdout `inputs`
    and `outputs` in `answer`, `input_output` or `tests`, or `input` and `output` in `public_tests` (CodeContests).
    Raises SyntaxError for tests or a solution that are not Python.
    """
    if isinstance(row.get("test"), str) and isinstance(row.get("entry_point"), str):
        return _plain(row, _question(row), _humaneval(row))
    if row.get("test_list"):
        tests = _mbpp(row)
        names = ", ".join(signatures(tests.reference or "", tests.names))
        return _plain(row, f"{_question(row)}\n\nThe tests use: {names}", tests)
    streams = _streams(row)
    return row if streams is None else _plain(row, _question(row), streams)


def _plain(row: Row, question: str, tests: Tests) -> Row:
    answer = tests.reference or json.dumps(tests.outputs if isinstance(tests, StreamTests) else tests.tests)
    ids = {"id": row.get("id", row["task_id"])} if "task_id" in row else {}
    return {**row, **ids, "prompt": None, "question": question, "answer": answer, "tests": tests}


def _question(row: Row) -> str:
    return str(next((row[key] for key in ("question", "prompt", "text", "description") if row.get(key)), ""))


def _humaneval(row: Row) -> CallTests:
    """The question is code: what it defines beside the function that is asked for, the tests may use as well."""
    given, name = _question(row), row["entry_point"]
    body = row.get("canonical_solution", row.get("answer"))
    return CallTests(
        f"{row['test']}\n\ncheck({name})\n", (name,), given, None if body is None else f"{given}{body}"
    )


def _mbpp(row: Row) -> CallTests:
    imports, setup = row.get("test_imports") or [], row.get("test_setup_code") or ""
    lines = [*imports, setup, *row["test_list"], *(row.get("challenge_test_list") or [])]
    return call_tests("\n".join(lines), row.get("code", row.get("answer")))


def _streams(row: Row) -> StreamTests | None:
    inputs: list[str] = []
    outputs: list[str] = []
    for key in ("answer", "input_output", "tests", "public_tests", "private_tests", "generated_tests"):
        table = _table(row.get(key))
        inputs += table.get("inputs", table.get("input", []))
        outputs += table.get("outputs", table.get("output", []))
    if not inputs or len(inputs) != len(outputs) or not all(isinstance(text, str) for text in inputs + outputs):
        return None
    return StreamTests(tuple(inputs), tuple(outputs), row.get("solution"))


def _table(value: Any) -> Mapping[str, Any]:
    """A table, also where it is written as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return {}
    return value if isinstance(value, Mapping) else {}
