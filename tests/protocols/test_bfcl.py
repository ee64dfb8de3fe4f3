"""The Berkeley Function Calling Leaderboard's calls, through each protocol and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym.config import build
from agentgym.tool import Call, ToolSpec

PROTOCOLS = ("arpo", "hermes", "json", "retool", "search_r1")
ROWS = {
    "simple_python": 198,
    "multiple": 101,
    "parallel": 98,
    "parallel_multiple": 86,
    "live_simple": 121,
    "live_parallel": 7,
    "live_parallel_multiple": 14,
}


def rows(data: Path, category: str) -> list[dict[str, Any]]:
    path = data / "tool_calling" / f"bfcl_{category}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def specs_of(row: dict[str, Any]) -> list[ToolSpec]:
    return [ToolSpec(**function) for function in row["functions"]]


def gold(row: dict[str, Any]) -> list[Call]:
    """The first accepted value of every parameter, without those that are best left out."""
    calls = []
    for alternatives in row["answer"]:
        ((name, parameters),) = alternatives.items()
        calls.append(Call(name, dict(_arguments(parameters))))
    return calls


def _arguments(parameters: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, accepted in parameters.items():
        if accepted and accepted[0] != "":
            yield name, _value(accepted[0])


def _value(accepted: Any) -> Any:
    if isinstance(accepted, dict):
        return dict(_arguments(accepted))
    return [_value(item) for item in accepted] if isinstance(accepted, list) else accepted


def exactly(calls: Any) -> str:
    """Calls as text, so that 1, 1.0 and True are not the same."""
    return repr([(call.tool, dict(call.arguments)) for call in calls])


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("category", ROWS)
def test_gold_calls_come_back(category: str, name: str, data: Path) -> None:
    read = 0
    for row in rows(data, category):
        dialogue = build("protocol", name).bind(specs_of(row))
        calls = gold(row)
        assert exactly(dialogue.parse(dialogue.write_calls(calls)).calls) == exactly(calls), row["id"]
        read += 1
    assert read == ROWS[category]


@pytest.mark.parametrize("category", ROWS)
def test_hermes_reads_as_the_plainest_reader_would(category: str, data: Path) -> None:
    for row in rows(data, category):
        calls = gold(row)
        text = build("protocol", "hermes").bind(specs_of(row)).write_calls(calls)
        found = [json.loads(body) for body in re.findall(r"<tool_call>\n(.*)\n</tool_call>", text)]
        assert found == [{"name": call.tool, "arguments": call.arguments} for call in calls]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_words_are_no_calls(name: str, data: Path) -> None:
    found = rows(data, "irrelevance")
    for row in found:
        dialogue = build("protocol", name).bind(specs_of(row))
        words = f"{row['question']}\nNone of the tools can do that: {row['answer']}."
        said = dialogue.parse(f"{words}\n{dialogue.write_answer(row['answer'])}")
        assert said.calls == ()
        assert dialogue.read_answer(said.text) == row["answer"]
    assert len(found) == 120
