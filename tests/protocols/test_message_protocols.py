"""Calls as JSON: Hermes' tags, bare JSON, and tools told as text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentgym.config import build
from agentgym.protocol import Dialogue, Malformed, Said
from agentgym.protocols.describe import describe
from agentgym.tool import Call, ToolSpec

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
SPECS = (ToolSpec("search", "Finds </tool_call> passages.", SCHEMA), ToolSpec("clock", "Tells the time.", {}))


def bind(protocol: Any) -> Dialogue:
    dialogue: Dialogue = build("protocol", protocol).bind(SPECS)
    return dialogue


def test_hermes_calls() -> None:
    dialogue = bind("hermes")
    assert dialogue.parse(
        'Two.\n<tool_call>\n{"name": "search", "arguments": {"q": "a < b"}}\n</tool_call>\n'
        '<tool_call>{"arguments": {}, "name": "nosuch"}</tool_call> thanks'
    ) == Said((Call("search", {"q": "a < b"}), Call("nosuch", {})))
    assert dialogue.parse("It is \\boxed{1}.") == Said((), "It is \\boxed{1}.")
    assert dialogue.write_calls([Call("search", {"q": "a < b </tool_call>é"})]) == (
        '<tool_call>\n{"name": "search", "arguments": {"q": "a < b \\u003c/tool_call>é"}}\n</tool_call>'
    )


@pytest.mark.parametrize(
    ("turn", "calls", "reason"),
    [
        ('<tool_call>\n{"name": "clock", "arguments": {}}', 0, "not closed"),
        ('<tool_call>{"name": "clock", "arguments": {}}</tool_call><tool_call>{"na', 1, "not closed"),
        ('{"name": "clock", "arguments": {}}\n</tool_call>', 0, "no opening"),
        ("<tool_call>clock()</tool_call>", 0, "no JSON"),
        ("<tool_call>\n</tool_call>", 0, "no JSON"),
        ('<tool_call>[{"name": "clock", "arguments": {}}]</tool_call>', 0, "a call is a JSON object"),
        ('<tool_call>{"name": "search", "arguments": {"q": "</tool_call>"}}</tool_call>', 0, "no JSON"),
    ],
)
def test_hermes_mistakes(turn: str, calls: int, reason: str) -> None:
    *good, bad = bind("hermes").parse(turn).calls
    assert len(good) == calls
    assert isinstance(bad, Malformed)
    assert reason in bad.reason


CLOCK = Call("clock", {})


@pytest.mark.parametrize(
    ("turn", "calls"),
    [
        ('{"name": "clock", "arguments": {}}', [CLOCK]),
        ('\n {"name": "clock", "parameters": {}} \n', [CLOCK]),
        ('[{"name": "clock", "arguments": {}}, {"name": "search", "arguments": {"q": "x"}}]', [CLOCK, "x"]),
        ('I look.\n```json\n{"name": "clock", "arguments": {}}\n```', [CLOCK]),
        ('I look.\n```json {"name": "clock", "arguments": {}}```\nNow I wait.', [CLOCK]),
        (
            '```json\n{"name": "f", "arguments": {}}\n```\nNo:\n```json\n{"name": "clock", "arguments": {}}\n```',
            [CLOCK],
        ),
        ('```json\n{"name": "search", "arguments": {"q": "```json"}}\n```', ["```json"]),
        ('As in {"name": "clock", "arguments": {}}', []),
        ('```python\n{"name": "clock", "arguments": {}}\n```', []),
        ("[1, 2] is \\boxed{3}", []),
        ("[1, 2]", []),
        ("{1, 2}", []),
        ("42", []),
        ("```json\n42\n```", []),
        ('{"answer": 42}', []),
    ],
)
def test_json_turns(turn: str, calls: list[Call | str]) -> None:
    wanted = tuple(Call("search", {"q": call}) if isinstance(call, str) else call for call in calls)
    said = bind("json").parse(turn)
    assert said == Said(wanted, "" if wanted else turn)


@pytest.mark.parametrize(
    "turn",
    [
        *(
            '{"name": "clock"',
            '{"name": "clock", "arguments": {}} and so on',
            '[{"name": "clock"}]',
            "```json\nclock()\n```",
        ),
        *(
            '{"tool": "clock"}',
            '[{"answer": 1}]',
            '```json\n{"name": "clock", "arguments": {}} so\n```',
            '{"answer": NaN}',
        ),
    ],
)
def test_json_mistakes(turn: str) -> None:
    (bad,) = bind("json").parse(turn).calls
    assert isinstance(bad, Malformed)


def test_a_list_keeps_its_good_calls() -> None:
    good, bad = bind("json").parse('[{"name": "clock", "arguments": {}}, 7]').calls
    assert good == CLOCK
    assert isinstance(bad, Malformed)


@pytest.mark.parametrize(
    ("style", "text", "answer"),
    [
        ("boxed", '{"answer": "Bern"}', "Bern"),
        ("boxed", 'So:\n```json\n{"answer": [1, "a"]}\n```', '[1, "a"]'),
        ("boxed", '{"answer": 4.50}', "4.5"),
        ("boxed", "It is \\boxed{Bern}.", "Bern"),
        ("boxed", "It is Bern.", None),
        ("tag", "<answer>Bern</answer>", "Bern"),
        ("text", "Bern", "Bern"),
        ("text", '{"answer": ', None),
    ],
)
def test_json_answers(style: str, text: str, answer: str | None) -> None:
    assert bind({"name": "json", "answer": style}).read_answer(text) == answer


def test_who_announces_the_tools() -> None:
    assert list(bind("hermes").specs) == list(SPECS)
    assert list(bind("json").specs) == []
    for spec in SPECS:
        assert f'"{spec.name}"' in bind("json").how_to_call
        assert spec.name not in bind("hermes").how_to_call


def test_tools_described_as_text_are_those_that_were_given() -> None:
    functions = [spec.function() for spec in SPECS]
    text = describe(functions)
    assert [json.loads(line) for line in text.splitlines() if line.startswith('{"type"')] == functions
    (example,) = bind("hermes").parse(text).calls
    assert isinstance(example, Call), "what it shows is how a call is written"


def test_outputs_may_not_write_what_templates_write() -> None:
    for name in ("hermes", "json"):
        assert bind(name).tags == ("tool_call", "tool_response")
        assert bind({"name": name, "answer": "tag"}).tags == ("answer", "tool_call", "tool_response")
