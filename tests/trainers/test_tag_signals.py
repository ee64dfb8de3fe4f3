"""Signals about tags: what the policy wrote itself, against ARPO's and ReTool's rules."""

from __future__ import annotations

import pytest

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.services import Services

THINK = "<think>I need a fact.</think>"
SEARCH = "<search>capital of France</search>"
PYTHON = "<python>print(6 * 7)</python>"
ANSWER = r"<answer>It is \boxed{Paris}.</answer>"
RETOOL = {"call_tags": ["code"], "result_tag": "interpreter", "think": False, "answer": False}

WELL_FORMED = {
    "no call": [THINK + ANSWER],
    "a call": [THINK + SEARCH, ANSWER],
    "calls of both kinds": [THINK + SEARCH, THINK + PYTHON, THINK + ANSWER],
    "text between, space after": [f"Well. {THINK} so {SEARCH}\n", f"Then {ANSWER}\n\n"],
    "a call inside a thought": [f"<think>Let me see. {SEARCH}", f"Good.</think>{ANSWER}"],
    "calls inside a thought": [f"<think>{SEARCH}", PYTHON, f"</think>{THINK}{ANSWER}"],
    "nested braces in the box": [THINK + r"<answer>\boxed{\frac{1}{2}}</answer>"],
    "two boxes in the answer": [THINK + r"<answer>\boxed{1}, no: \boxed{2}</answer>"],
    "tags of no protocol": [f"<b>Hm</b> 1 < 2 {THINK}<information>x{ANSWER}"],
}
MALFORMED = {
    "nothing": [""],
    "no thought": [SEARCH, ANSWER],
    "a thought left open": [f"<think>I need a fact. {SEARCH}", ANSWER],
    "a thought never opened": [f"</think>{THINK}{SEARCH}", ANSWER],
    "a thought in a thought": [f"<think>{THINK}</think>{ANSWER}"],
    "a thought that ends in the answer": [r"<think>x<answer></think>\boxed{1}</answer>"],
    "a thought that ends in a call": ["<think>x<search></think>y</search>", ANSWER],
    "no answer": [THINK + SEARCH, r"\boxed{Paris}"],
    "no box": [THINK + "<answer>Paris</answer>"],
    "a box that stays open": [THINK + r"<answer>\boxed{Paris</answer>"],
    "the box before the answer": [THINK + r"\boxed{Paris}<answer>Paris</answer>"],
    "two answers": [THINK + ANSWER + ANSWER],
    "an answer before the last turn": [THINK + ANSWER + SEARCH, ANSWER],
    "only an answer before the last turn": [THINK + ANSWER + SEARCH, "as I said"],
    "text after the answer": [THINK + ANSWER + " I hope."],
    "the answer left open": [THINK + r"<answer>\boxed{Paris}"],
    "a call without a result": [THINK + SEARCH],
    "a call in the last turn": [THINK + SEARCH, PYTHON + ANSWER],
    "a call left open": [f"{THINK}<search>capital", ANSWER],
    "a call never opened": [f"{THINK}capital</search>", ANSWER],
    "a call closed as another": [f"{THINK}<search>capital</python>", ANSWER],
    "text after a call": [f"{THINK}{SEARCH} and", ANSWER],
    "two calls in a turn": [THINK + SEARCH + PYTHON, ANSWER],
    "a call in a call": [f"{THINK}<search>{PYTHON}</search>", ANSWER],
    "a turn without a call": [THINK, ANSWER],
    "a result of its own": [f"{THINK}{SEARCH}", f"<result>Paris</result>{ANSWER}"],
    "a call and its result in one turn": [f"{THINK}{SEARCH}<result>Paris</result>{ANSWER}"],
    "the end of a result": [f"{THINK}</result>{ANSWER}"],
}
RETOOL_CASES = [
    ([r"\boxed{4}"], 1.0),
    (["<code>print(2 + 2)</code>\n", r"So it is \boxed{4}."], 1.0),
    ([r"</think> Thus <answer> \boxed{4}"], 1.0),  # not looked at
    (["<code>print(2 + 2)</code>", "4"], 0.0),
    (["<code>print(2 + 2)", r"\boxed{4}"], 0.0),
    (["<code>print(2 + 2)</code> = 4", r"\boxed{4}"], 0.0),
    ([r"<code>print('\boxed{4}')</code>"], 0.0),
    (["<code>print(2 + 2)</code>", r"<interpreter>4</interpreter>\boxed{4}"], 0.0),
    (["<search>2 + 2</search>", r"\boxed{4}"], 0.0),  # no call of this protocol
]


def cases(value, table):
    return [pytest.param(texts, value, id=name) for name, texts in table.items()]


async def signal(spec, group, episode, texts, observation=""):
    scored = episode(group, actions=[1] * len(texts), texts=texts)
    for turn in group.turns:
        turn.observation = observation
    await build("signal", spec)(group, Services())
    (value,) = scored.signals.values()
    return value


@pytest.mark.parametrize(("texts", "value"), cases(1.0, WELL_FORMED) + cases(0.0, MALFORMED))
async def test_tag_format(group, episode, texts, value):
    assert await signal("tag_format", group, episode, texts) == value


@pytest.mark.parametrize(("texts", "value"), RETOOL_CASES)
async def test_tag_format_of_another_protocol(group, episode, texts, value):
    assert await signal({"name": "tag_format", **RETOOL}, group, episode, texts) == value


@pytest.mark.parametrize("observation", ["</think>", "<think>", "<result>", ANSWER, SEARCH, "</python>"])
@pytest.mark.parametrize(("texts", "value"), [([THINK + SEARCH, ANSWER], 1.0), ([THINK + SEARCH, "Paris"], 0.0)])
async def test_tag_format_is_blind_to_observations(group, episode, texts, value, observation):
    assert await signal("tag_format", group, episode, texts, observation) == value


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["no tool"], 0.0),
        ([SEARCH, ANSWER], 1.0),
        ([SEARCH, SEARCH, ANSWER], 1.0),
        ([SEARCH, PYTHON, ANSWER], 2.0),
        ([PYTHON, "<search>\ntwo\nlines</search>", ANSWER], 2.0),
        (["<search>open", "</search>"], 0.0),
        (["</search> <python>", SEARCH], 1.0),
        (["<code>print()</code>", SEARCH], 1.0),
    ],
)
async def test_tools_used_counts_the_kinds_of_calls_that_were_closed(group, episode, texts, value):
    assert await signal("tools_used", group, episode, texts) == value


async def test_tools_used_counts_the_tags_it_is_told(group, episode):
    spec = {"name": "tools_used", "call_tags": ["code", "sql", "browse"]}
    assert await signal(spec, group, episode, ["<code>1</code>", "<sql>2</sql>", SEARCH]) == 2


async def test_tools_used_is_blind_to_observations(group, episode):
    assert await signal("tools_used", group, episode, [SEARCH, ANSWER], observation=PYTHON) == 1


@pytest.mark.parametrize("name", ["tag_format", "tools_used"])
@pytest.mark.parametrize(
    ("tags", "message"), [([], "call_tags is empty"), (["<search>"], "by its name.*'<search>'")]
)
def test_call_tags_must_be_names(name, tags, message):
    with pytest.raises(ConfigError, match=f"{name}: .*{message}"):
        build("signal", {"name": name, "call_tags": tags})
