"""What a protocol writes it reads again, for any tools, arguments, answers and outputs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentgym.config import build, names
from agentgym.protocol import Malformed
from agentgym.tool import Call, Result, ToolSpec

TAGGED = ("arpo", "reseek", "retool", "search_r1")
WITH_MESSAGES = ("hermes", "json")
PROTOCOLS = (*TAGGED, *WITH_MESSAGES)
PIECES = [
    *(
        "<",
        ">",
        "</",
        "code",
        "<code>",
        "</code>",
        "<search>",
        "</search>",
        "</a.b>",
        "<tool_call>",
        "</tool_call>",
    ),
    *("<answer>", "</answer>", "\n", "```", "```json", "\n```json\n", '{"text": "x"}', '{"query":', "}", "]", '"'),
    *("\\", "\\u003c", "\\boxed{", "<|im_end|>", " ", "é", "🙂", "\x00", "\u2028", "\r\n", "1e999", "NaN"),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
NAMES = ("python", "search", "a.b", "a", "a>", "a-b", "x/y:z", "get weather", "()[]*", "größe")


@st.composite
def toolsets(draw: st.DrawFn) -> list[ToolSpec]:
    """Tools of any schema: one required string, optional ones besides it, other types, none."""
    chosen = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    specs = []
    for name in chosen:
        arguments = draw(st.lists(st.sampled_from(["text", "query", "n", "name"]), max_size=3, unique=True))
        kinds = {key: {"type": draw(st.sampled_from(["string", "integer", "object"]))} for key in arguments}
        required = [key for key in arguments if draw(st.booleans())]
        specs.append(ToolSpec(name, "", {"type": "object", "properties": kinds, "required": required}))
    return specs


@st.composite
def calls_of(draw: st.DrawFn, specs: list[ToolSpec]) -> list[Call]:
    """Calls that give what is required, in a third of the cases as a value of the wrong type."""
    calls = []
    for spec in draw(st.lists(st.sampled_from(specs), min_size=1, max_size=4)):
        about, required = spec.parameters["properties"], spec.parameters["required"]
        given = [key for key in about if key in required or draw(st.booleans())]
        kinds = {"string": texts, "integer": st.integers(), "object": st.dictionaries(texts, values, max_size=3)}
        arguments = {key: draw(kinds[about[key]["type"]] | values) for key in given}
        calls.append(Call(spec.name, arguments))
    return calls


def exactly(calls: Any) -> str:
    """Calls as text, so that 1, 1.0 and True are not the same."""
    return repr([(call.tool, dict(call.arguments), call.id) for call in calls])


def test_the_protocols_are_these() -> None:
    assert names("protocol") == sorted(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_calls(name: str, data: st.DataObject) -> None:
    specs = data.draw(toolsets())
    calls = data.draw(calls_of(specs))
    dialogue = build("protocol", name).bind(specs)
    written = dialogue.write_calls(calls)
    said = dialogue.parse(written)
    assert exactly(said.calls) == exactly(calls)
    assert exactly(dialogue.parse(f"First I look it up.\n{written}").calls) == exactly(calls)


@pytest.mark.parametrize("name", TAGGED)
@settings(max_examples=150, deadline=None)
@given(text=texts)
@example(text="")
@example(text="\n\n")
@example(text="\n x \n")
@example(text="</code>")
@example(text='{"query": "x"}')
def test_any_string_is_a_query_as_it_is(name: str, text: str) -> None:
    schema = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    dialogue = build("protocol", name).bind([ToolSpec("search", "", schema), ToolSpec("python", "", schema)])
    calls = [Call("search", {"query": text}), Call("python", {"query": text})]
    assert exactly(dialogue.parse(dialogue.write_calls(calls)).calls) == exactly(calls)


@pytest.mark.parametrize("name", WITH_MESSAGES)
def test_a_calls_id_is_kept_and_shown(name: str) -> None:
    dialogue = build("protocol", name).bind([])
    calls = [Call("f", {}, "call_1"), Call("g", {"x": 1})]
    assert dialogue.parse(dialogue.write_calls(calls)).calls == tuple(calls)
    assert dialogue.observe([Result(calls[0], "one"), Result(calls[1], "two"), Malformed("Error: no.")]) == [
        {"role": "tool", "content": "one", "name": "f", "tool_call_id": "call_1"},
        {"role": "tool", "content": "two", "name": "g"},
        {"role": "tool", "content": "Error: no."},
    ]


def balanced(text: str) -> bool:
    """Whether braces pair, none escaped."""
    depth = 0
    for letter in text:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth < 0:
            return False
    return depth == 0 and "\\" not in text


def holds(style: str, answer: str) -> bool:
    """Whether an answer can be told in a style."""
    if style == "json":
        return True
    if answer != answer.strip():
        return False
    tagged = "<answer>" not in answer and "</answer>" not in answer
    words = bool(answer) and "</think>" not in answer
    return {"boxed": balanced(answer), "tag": tagged, "arpo": tagged and "\\" not in answer, "text": words}[style]


ANSWERING = [
    *(("arpo", "arpo"), ("reseek", "tag"), ("search_r1", "tag"), ("json", "json")),
    *(
        ({"name": name, "answer": style}, style)
        for name in ("retool", "hermes")
        for style in ("boxed", "tag", "text")
    ),
]


@pytest.mark.parametrize(("spec", "style"), ANSWERING, ids=str)
@settings(max_examples=100, deadline=None)
@given(answer=texts | st.sampled_from(["42", "x^{2}", "{a}{b}", "-1.50", "no", "[1, 2]", "<b>"]))
def test_answers(spec: Any, style: str, answer: str) -> None:
    dialogue = build("protocol", spec).bind([])
    written = dialogue.write_answer(answer)
    if holds(style, answer):
        assert dialogue.read_answer(written) == answer
    if "tool_call>" not in answer:
        assert dialogue.parse(f"So this is it.\n{written}").calls == ()


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=50, deadline=None)
@given(outputs=st.lists(texts, max_size=4))
def test_outputs(name: str, outputs: list[str]) -> None:
    """Outputs come neutralised: without the tag that ends them."""
    dialogue = build("protocol", name).bind([])
    for tag in dialogue.tags:
        outputs = [output.replace(f"</{tag}", f"&lt;/{tag}") for output in outputs]
    results = [Result(Call("f", {}), output) for output in outputs]
    assert dialogue.read(dialogue.observe(results)) == outputs
