"""Turns in tags: what is a call, what is an answer, and what the policy is told."""

from __future__ import annotations

from typing import Any

import pytest

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.protocol import Dialogue, Malformed, Said
from agentgym.tool import Call, Result, ToolSpec


def spec(name: str, *required: str, **kinds: str) -> ToolSpec:
    properties = {key: {"type": kind} for key, kind in kinds.items()}
    return ToolSpec(
        name, f"About {name}.", {"type": "object", "properties": properties, "required": list(required)}
    )


PYTHON = spec("python", "code", code="string")
SEARCH = spec("search", "query", query="string", top="integer")
WEATHER = spec("weather.now", "city", "days", city="string", days="integer")
CLOCK = spec("clock")


def bind(protocol: Any, *specs: ToolSpec) -> Dialogue:
    dialogue: Dialogue = build("protocol", protocol).bind(specs)
    return dialogue


def run(program: str) -> Call:
    return Call("python", {"code": program})


CLOSES_NOTHING = Malformed("Error: the closing code tag has no opening one before it.")
NO_PROGRAM = Malformed("Error: there is no program between the code tags.")


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ("Let me see.\n<code>\nprint(1)\n</code>", Said((run("print(1)"),))),
        ("<code>print(1)</code>", Said((run("print(1)"),))),
        ("<code>\n  x\n\n</code>", Said((run("  x\n"),))),
        ("<code>\nprint('<code>')\n</code>", Said((run("print('<code>')"),))),
        ('<code>\n{"a": 1}\n</code>', Said((run('{"a": 1}'),))),
        ("<code>\na\n</code>\nand\n<code>\nb\n</code> \\boxed{1}", Said((run("a"), run("b")))),
        ("<code>\na\n</code>\nand\n<code>\nb", Said((run("a"),))),
        ("<code>\na\n</code>\n</code>\n<code>\nb\n</code>", Said((run("a"),))),
        ("<code> \n </code>", Said((NO_PROGRAM,))),
        ("</code>\n<code>\na\n</code>", Said((CLOSES_NOTHING,))),
        ("\\boxed{1} <code>\nprint(2)", Said((), "")),
        ("It is \\boxed{1}.", Said((), "It is \\boxed{1}.")),
        ("<search>x</search>", Said((), "<search>x</search>")),
        ("", Said((), "")),
    ],
)
def test_retool_turns(turn: str, said: Said) -> None:
    assert bind("retool", PYTHON).parse(turn) == said


TOLD = """\
To run a program, write it between tags on lines of their own and stop:
<code>
print(2**64 % 97)
</code>
Its output comes back between <interpreter> and </interpreter>, and you go on from there. Only printed text is \
shown. Variables stay defined for your later programs. If a program fails you see the error: correct it and run \
it again."""


def test_retool_tells_its_policy() -> None:
    dialogue = bind("retool", PYTHON)
    assert dialogue.how_to_call == TOLD
    assert dialogue.how_to_answer == (
        "When you are sure, give the final answer as \\boxed{answer}, with nothing but the answer inside, and end "
        "your reply. Do not write anything between <interpreter> tags yourself."
    )
    assert dialogue.stop == ("</code>",)
    assert dialogue.specs == ()


def test_outputs_continue_the_policys_message() -> None:
    dialogue = bind("retool", PYTHON)
    shown = dialogue.observe([Result(run("a"), "1"), NO_PROGRAM])
    assert shown == (
        "\n<interpreter>\n1\n</interpreter>\n"
        "\n<interpreter>\nError: there is no program between the code tags.\n</interpreter>\n"
    )
    assert (
        bind("search_r1", SEARCH).observe([Result(Call("search", {}), "a")])
        == "\n<information>\na\n</information>\n"
    )
    assert bind("arpo", SEARCH).observe([Result(Call("search", {}), "a")]) == "\n<result>\na\n</result>\n"


def test_other_tools_have_tags_of_their_own_names() -> None:
    dialogue = bind("retool", PYTHON, SEARCH, WEATHER, CLOCK)
    assert dialogue.parse(
        '<search>\nwho?\n</search><search>{"query": "a", "top": 3}</search>\n<clock></clock>'
        '<weather.now>\n{"city": "Bern", "days": 2}\n</weather.now><weatherxnow>{}</weatherxnow>'
    ) == Said(
        (
            Call("search", {"query": "who?"}),
            Call("search", {"query": "a", "top": 3}),
            Call("clock", {}),
            Call("weather.now", {"city": "Bern", "days": 2}),
        )
    )
    assert dialogue.stop == ("</code>", "</search>", "</weather.now>", "</clock>")
    for text in (
        '<search>\n{"query": ..., "top": ...}\n</search>\nAbout search.\nquery (string)',
        "<weather.now>",
        "days (integer",
        "<clock>",
        "<interpreter>",
    ):
        assert text in dialogue.how_to_call


@pytest.mark.parametrize("body", ["Bern", "[1]", '{"city": NaN}', '"Bern"', '{"city": "Bern", "city": "Basel"}'])
def test_what_is_no_object_of_arguments_says_so(body: str) -> None:
    (problem,) = bind("arpo", WEATHER).parse(f"<weather.now>{body}</weather.now>").calls
    assert isinstance(problem, Malformed)
    assert "weather.now tags" in problem.reason


def test_a_text_that_the_tag_cannot_hold_is_written_as_json() -> None:
    dialogue = bind("retool", PYTHON)
    plain, closing = run("if a < b:\n    print('<code>')"), run("print('</code>')")
    assert dialogue.write_calls([plain]) == "<code>\nif a < b:\n    print('<code>')\n</code>"
    assert dialogue.write_calls([closing]) == '<code>\n{"code": "print(\'\\u003c/code>\')"}\n</code>'
    with pytest.raises(ValueError, match="did you mean 'python'"):
        dialogue.write_calls([Call("pyton", {"code": ""})])
    with pytest.raises(ValueError, match="no text of this protocol stands for"):
        dialogue.write_calls([Call("python", {"program": "1"})])


def test_a_tag_left_open_before_another_ends_is_an_error_and_no_silence() -> None:
    """The policy was stopped at the other's closing tag: it did not run out of tokens."""
    said = bind("retool", PYTHON, SEARCH).parse("<code>\nprint('<search>x</search>")
    assert said == Said((Malformed("Error: the code tag is not closed before another tag's end."),))
    assert bind("retool", PYTHON, SEARCH).parse("<code>\nprint('<search>x") == Said((), "")


def test_search_r1_corrects_a_turn_that_does_nothing() -> None:
    dialogue = bind("search_r1", SEARCH)
    for turn in ("I wonder.", "<search>who", "<answer>me", ""):
        (problem,) = dialogue.parse(turn).calls
        assert isinstance(problem, Malformed)
        assert "between search tags" in problem.reason
        assert "between answer tags" in problem.reason
    assert dialogue.parse("<answer> Bern </answer>") == Said((), "<answer> Bern </answer>")
    assert dialogue.stop == ("</search>", "</answer>")


@pytest.mark.parametrize(
    ("protocol", "text", "answer"),
    [
        ("search_r1", "<answer>Basel</answer> or <answer>\nBern\n</answer>", "Bern"),
        ("search_r1", "<answer>\\boxed{Bern}</answer>", "\\boxed{Bern}"),
        ("search_r1", "\\boxed{Bern}", None),
        ("arpo", "<answer>It is \\boxed{Bern}.</answer>", "Bern"),
        ("arpo", "<answer> Bern </answer>", "Bern"),
        ("arpo", "\\boxed{Bern}", None),
        ("retool", "\\boxed{Basel} no \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("retool", "<answer>Bern</answer>", None),
        ({"name": "retool", "answer": "tag"}, "<answer>\nBern\n</answer>", "Bern"),
        ({"name": "retool", "answer": "text"}, "<think>Basel?</think>\nBern\n", "Bern"),
        ({"name": "retool", "answer": "text"}, " \n", None),
    ],
)
def test_answers(protocol: Any, text: str, answer: str | None) -> None:
    assert bind(protocol, PYTHON).read_answer(text) == answer


@pytest.mark.parametrize(
    ("protocol", "names", "message"),
    [
        ("retool", ["python", "code"], "tool 'code' needs <code>, which is taken by tool 'python'"),
        (
            "retool",
            ["interpreter"],
            "the output of tools needs <interpreter>, which is taken by tool 'interpreter'",
        ),
        ("search_r1", ["answer"], "the answer needs <answer>, which is taken by tool 'answer'"),
        ("arpo", ["result"], "the output of tools needs <result>"),
        ("arpo", ["a", "a"], "tool 'a' needs <a>, which is taken by tool 'a'"),
        ("arpo", ["a", "/a"], "tool '/a' needs </a>, which is taken by tool 'a'"),
    ],
)
def test_two_that_want_one_tag_are_refused(protocol: str, names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bind(protocol, *[spec(name) for name in names])


def test_outputs_may_not_write_the_tags_that_mean_something() -> None:
    assert bind("retool", PYTHON, SEARCH).tags == ("code", "search", "interpreter", "tool_call", "tool_response")
    assert bind("search_r1", SEARCH).tags == ("search", "information", "answer", "tool_call", "tool_response")
    assert bind("arpo", PYTHON).tags == ("python", "result", "answer", "tool_call", "tool_response")


@pytest.mark.parametrize(
    "parameters",
    [{}, {"type": "dict"}, {"required": "q"}, {"required": ["q"]}, {"required": ["q"], "properties": {"q": True}}],
)
def test_a_schema_that_says_little_takes_an_object(parameters: dict[str, Any]) -> None:
    dialogue = bind("arpo", ToolSpec("f", "", parameters))
    assert dialogue.parse('<f>{"q": "x"}</f>').calls == (Call("f", {"q": "x"}),)
    assert "<f>" in dialogue.how_to_call
