"""Turns as policies get them wrong: whatever the text, no exception, and no call that the text does not hold."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentgym.config import build
from agentgym.protocol import Dialogue, Malformed
from agentgym.tool import Call, ToolSpec

PROTOCOLS = ("arpo", "hermes", "json", "retool", "search_r1")
TAGS = {"python": "code"}  # retool's; elsewhere the tool's name


def _schema(*required: str, **kinds: str) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in kinds.items()}
    return {"type": "object", "properties": properties, "required": list(required)}


SPECS = (
    ToolSpec("python", "Runs a program.", _schema("code", code="string")),
    ToolSpec("search", "Finds passages.", _schema("query", query="string", top="integer")),
    ToolSpec("weather.now-2", "Tells the weather.", _schema("city", "days", city="string", days="integer")),
    ToolSpec("clock", "Tells the time.", _schema()),
)
TURNS = (
    "I compute it.\n<code>\nx = 2**64 % 97\nprint(f'{x:<8}|')\n</code>",
    "<code>\nfor i in range(3):\n    print({'code': i})\n</code>\n<search>\nMariä Himmelfahrt 1950\n</search>",
    "So $x^2 = 4$ and the answer is \\boxed{\\frac{1}{2}}.",
    "<think>\nI need the capital. <search> helps.\n</think>\n<search> capital of Côte d'Ivoire </search>",
    "<python>\nprint('</search>')\n</python><result>\nnot mine\n</result>",
    "<answer>\n\\boxed{Yamoussoukro}\n</answer>",
    '<search>\n{"query": "price < 5 \\u003c/search>", "top": 3}\n</search>',
    '<weather.now-2>\n{"city": "Zürich \\ud83c\\udf28", "days": 2}\n</weather.now-2>\n<clock></clock>',
    '<tool_call>\n{"name": "python", "arguments": {"code": "print(\\"a\\\\nb\\")"}}\n</tool_call>',
    '<tool_call>\n{"name": "search", "arguments": {"query": "北京 天气"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "nosuch", "arguments": {"deep": [{"er": [null, true, 1.5e3]}]}}\n</tool_call>',
    '{"name": "weather.now-2", "parameters": {"city": "Paris", "days": 10}}',
    'Both.\n```json\n[{"name": "clock", "arguments": {}}, {"name": "search", "arguments": {"query": "x"}}]\n```',
    '```json\n{"answer": "Łódź"}\n```',
    "</code> </tool_call> [1, 2, {}] I am done: 42",
)
PIECES = (
    *(
        "<",
        ">",
        "</",
        "<code>",
        "</code>",
        "<search>",
        "</search>",
        "<tool_call>",
        "</tool_call>",
        "```json\n",
        "```",
    ),
    *("{", "}", "[", "]", '"', "\\", ",", ":", '{"name": "', '", "arguments": {', "\\ud800", "\\u0000", "\x00"),
    *("NaN", "-Infinity", "1e999", "9" * 5000, "[" * 3000, '{"a":' * 2000, "]" * 3000, "null", "true"),
    *(
        "\u202e",
        "\ufeff",
        "\u0301",
        "🙂",
        "\u2028",
        "\r\n",
        "\ud800",
        "<answer>",
        "</answer>",
        "\\boxed{",
        "<|im_end|>",
    ),
)


def damaged(rng: random.Random) -> str:
    """A turn after up to six accidents."""
    text = rng.choice(TURNS)
    for _ in range(rng.randint(0, 6)):
        text = rng.choice(ACCIDENTS)(text, rng)
    return text[:20000]


def _span(text: str, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(text))
    return start, min(len(text), start + rng.choice([1, 3, 10, 40]))


def _splice(text: str, rng: random.Random) -> str:
    other = rng.choice(TURNS)
    return text[: rng.randint(0, len(text))] + other[rng.randint(0, len(other)) :]


def _append(text: str, rng: random.Random) -> str:
    return text + rng.choice(["", "\n", " and "]) + rng.choice(TURNS)


def _delete(text: str, rng: random.Random) -> str:
    start, end = _span(text, rng)
    return text[:start] + text[end:]


def _duplicate(text: str, rng: random.Random) -> str:
    start, end = _span(text, rng)
    return text[:end] + text[start:end] * rng.choice([1, 1, 2, 30]) + text[end:]


def _insert(text: str, rng: random.Random) -> str:
    at, _ = _span(text, rng)
    return text[:at] + rng.choice(PIECES) + text[at:]


def _cut_a_tag(text: str, rng: random.Random) -> str:
    tags = list(re.finditer(r"<[^<>]*>", text))
    if not tags:
        return text
    tag = rng.choice(tags)
    at = rng.randint(tag.start(), tag.end())
    return text[: tag.start()] + text[at:]


def _stop_early(text: str, rng: random.Random) -> str:
    return text[: rng.randint(0, len(text))]


ACCIDENTS: tuple[Callable[[str, random.Random], str], ...] = (
    *(_splice, _append, _delete, _duplicate, _insert, _cut_a_tag, _stop_early),
)


def unescaped(text: str) -> str:
    """The text with JSON's escapes resolved, wherever they stand."""
    escapes = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[\"\\/bfnrt]"
    short = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

    def resolve(escape: re.Match[str]) -> str:
        if escape[0][1] != "u":
            return short.get(escape[0][1], escape[0][1])
        units = b"".join(int(unit, 16).to_bytes(2, "big") for unit in escape[0].split("\\u")[1:])
        return units.decode("utf-16-be", "surrogatepass")

    return re.sub(escapes, resolve, text)


def strings(value: Any) -> Iterator[str]:
    """Every string in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def expect_within(call: Call, text: str, name: str) -> None:
    """The call's name and strings stand in the text."""
    plain = unescaped(text)
    if name in ("hermes", "json"):
        assert call.tool in text or call.tool in plain
    else:
        tag = TAGS.get(call.tool, call.tool) if name == "retool" else call.tool
        assert f"<{tag}>" in text
        assert f"</{tag}>" in text
    implied = {"python": "code", "search": "query"}.get(call.tool)
    for string in strings(dict(call.arguments)):
        assert string == implied or string in text or string in plain, (call, text)


def play(name: str, turns: int) -> Counter[str]:
    """Read damaged turns; what was found in them."""
    dialogue: Dialogue = build("protocol", name).bind(SPECS)
    rng = random.Random(name)
    seen: Counter[str] = Counter()
    for _ in range(turns):
        text = damaged(rng)
        said = dialogue.parse(text)
        for call in said.calls:
            seen[type(call).__name__] += 1
            if isinstance(call, Malformed):
                assert call.reason.startswith("Error: ")
                assert call.reason.endswith(".")
            else:
                expect_within(call, text, name)
        if not said.calls:
            answer = dialogue.read_answer(said.text)
            seen["answer" if answer else "nothing"] += 1
            assert answer is None or name == "json" or answer in text
    return seen


@pytest.mark.parametrize("name", PROTOCOLS)
def test_thousands_of_damaged_turns(name: str) -> None:
    seen = play(name, 3000)
    rare = [kind for kind in ("Call", "Malformed", "answer") if seen[kind] < 50]
    assert not rare, f"too few of {rare} to say anything: {seen}"


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_hundred_thousand_damaged_turns(name: str) -> None:
    seen = play(name, 100_000)
    assert min(seen[kind] for kind in ("Call", "Malformed", "answer")) > 1000, seen


LONG = (
    *(
        "<code>",
        "</code>",
        "<code></code>",
        "<code>x</code>",
        "<search>",
        "<search><code>",
        "<tool_call>",
        "</tool_call>",
    ),
    *(
        "<tool_call></tool_call>",
        "<answer>",
        "</answer>",
        "<answer></answer>",
        "</answer><answer>",
        "\\boxed{",
        "}",
    ),
    *(
        "{",
        "[",
        "]",
        '{"a":',
        '[{"a":',
        '"',
        "\\",
        "9",
        "9.",
        "<",
        "</",
        "\n",
        " ",
        "```json\n",
        "\n```json",
        "```",
    ),
    *('{"name":"f","arguments":{}}\n', "\\ud800", "\\\\", "1e9", ",", "<code>{", "</think>", "<tool_call>{"),
)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("before", ["", "<code>", "<tool_call>", "```json\n", '{"', "\\boxed{"])
def test_long_turns_that_repeat_themselves_come_to_an_end(name: str, before: str) -> None:
    """200 kB each: work that grows with the square of the length takes minutes a text here."""
    dialogue: Dialogue = build("protocol", name).bind(SPECS)
    for piece in LONG:
        text = before + piece * (200_000 // len(piece))
        said = dialogue.parse(text)
        dialogue.read_answer(text)
        for call in said.calls:
            assert isinstance(call, (Call, Malformed))


BAD_JSON = {
    "NaN": '{"name": "f", "arguments": {"x": NaN}}',
    "Infinity": '{"name": "f", "arguments": {"x": -Infinity}}',
    "too large": '{"name": "f", "arguments": {"x": 1e999}}',
    "too many digits": '{"name": "f", "arguments": {"x": ' + "9" * 5000 + "}}",
    "same key twice": '{"name": "f", "arguments": {"x": 1, "x": 2}}',
    "same key": '{"name": "f", "name": "g", "arguments": {}}',
    "surrogate": '{"name": "f", "arguments": {"x": "\\ud800"}}',
    "nested": '{"name": "f", "arguments": {"x": ' + "[" * 5000 + "]" * 5000 + "}}",
    "nested over 100": '{"name": "f", "arguments": {"x": ' + "[" * 120 + "]" * 120 + "}}",
    "name must be a string": '{"name": ["f"], "arguments": {}}',
    "arguments must be an object": '{"name": "f", "arguments": "{}"}',
    "arguments must be given": '{"name": "f"}',
    "given once": '{"name": "f", "arguments": {}, "parameters": {}}',
    "id must be a string": '{"name": "f", "arguments": {}, "id": 7}',
    "more text": '{"name": "f", "arguments": {}} {"name": "f", "arguments": {}}',
    "Expecting": '{"name": "f", "arguments": {"x": \'y\'}}',
}


@pytest.mark.parametrize("why", BAD_JSON)
def test_json_that_is_no_call_says_why(why: str) -> None:
    for name, turn in (("hermes", f"<tool_call>\n{BAD_JSON[why]}\n</tool_call>"), ("json", BAD_JSON[why])):
        (problem,) = build("protocol", name).bind(SPECS).parse(turn).calls
        assert isinstance(problem, Malformed)
        assert why in problem.reason
