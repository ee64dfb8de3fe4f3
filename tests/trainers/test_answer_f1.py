"""The F1 of an answer's words, against values worked out by hand: 2 * shared / (words said + words wanted)."""

from __future__ import annotations

import pytest

from agentgym.config import build
from agentgym.services import Services
from agentgym.types import Group, Outcome, Task


async def f1(episode, gold, text, **more):
    group = Group("g", Task("t", "q", gold))
    scored = episode(group, actions=[1, 1], texts=[r"\boxed{first thoughts}", text], **more)
    group.turns[-1].observation = rf"\boxed{{{gold}}} <answer>\boxed{{{gold}}}</answer>"
    await build("signal", "answer_f1")(group, Services())
    return scored.signals["answer_f1"]


@pytest.mark.parametrize(
    ("gold", "said", "value"),
    [
        ("Paris", "Paris", 1.0),
        ("Paris", "London", 0.0),
        ("The Eiffel Tower", "an eiffel tower!", 1.0),
        ("Eiffel Tower", "the Eiffel Tower in Paris", 2 * 2 / (4 + 2)),
        ("Barack Hussein Obama", "Obama", 2 * 1 / (1 + 3)),
        ("New York", "new new York york new", 2 * 2 / (5 + 2)),  # a word counts as often as both have it
        ("to be or not to be", "to be", 2 * 2 / (2 + 6)),
        ("to be or not to be", "to be, to be", 2 * 4 / (4 + 6)),
        ("U.S.A.", "usa", 1.0),
        ("theatre", "the theatre", 1.0),  # an article is a whole word
        ("A", "a.", 1.0),  # nothing but an article: it is the answer
        ("A", "", 0.0),
        ("A", "the", 0.0),
        ("Paris", "", 0.0),
        ("Köln am Rhein", "KÖLN", 2 * 1 / (1 + 3)),
    ],
)
async def test_answer_f1(episode, gold, said, value):
    assert await f1(episode, gold, rf"I think \boxed{{{said}}}") == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\boxed{London} or \boxed{Paris}", 1.0),
        (r"\boxed{Paris} or \boxed{London}", 0.0),
        (r"\boxed{\text{Paris}", 0.0),
        ("Paris", 0.0),
    ],
)
async def test_the_last_box_of_the_last_turn_is_the_answer(episode, text, value):
    assert await f1(episode, "Paris", text) == value


@pytest.mark.parametrize(("answer", "value"), [("Paris", 1.0), ("Rome", 0.0), (None, 0.0)])
async def test_what_the_environment_took_for_the_answer_counts_before_the_box(episode, answer, value):
    assert await f1(episode, "Paris", r"<answer>Paris</answer> \boxed{Paris}", info={"answer": answer}) == value


async def test_an_episode_that_was_cut_off_has_no_answer(episode):
    assert await f1(episode, "first thoughts", "I was about to", outcome=Outcome.MAX_TOKENS) == 0
