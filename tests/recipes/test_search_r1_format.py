"""Search-R1's version 0.3, by hand."""

from __future__ import annotations

import pytest

SEARCH = "<think>I do not know.</think> <search>capital of France</search>"
ANSWER = "<think>So it is.</think> <answer>Paris</answer>"
NO_THOUGHT = ["<search>capital of France</search>", "<answer>Paris</answer>"]
FOUND, HALF = {"recall": 1.0, "answer": "Paris"}, {"recall": 0.5, "answer": "Paris"}


async def rewards(stage, episode, *given):
    episodes = [
        episode(actions=[1, 1], observations=[5], texts=texts, success=right, infos=[{}, info])
        for texts, right, info in given
    ]
    return [s.reward for s in await stage("search_r1_format", "rl").score(episodes)]


async def test_rewards(stage, episode):
    assert await rewards(
        stage,
        episode,
        ([SEARCH, ANSWER], True, HALF),  # right and well formed
        (NO_THOUGHT, True, HALF),  # right, 1 - 0.2
        ([SEARCH, ANSWER], False, FOUND),  # wrong, well formed, found: 0.2 + 0.1
        ([SEARCH, ANSWER], False, HALF),  # wrong, well formed, not all found
        (NO_THOUGHT, False, FOUND),  # malformed: what was found does not count
        ([SEARCH, "<think>So it is.</think>"], False, {"recall": 1.0, "answer": None}),  # no answer
    ) == pytest.approx([1.0, 0.8, 0.3, 0.2, 0.1, 0.0])


async def test_a_box_is_not_asked_for_and_an_empty_answer_is_none(stage, episode):
    empty = [SEARCH, "<think>Well.</think> <answer> </answer>"]
    assert await rewards(stage, episode, (empty, False, {"answer": ""})) == pytest.approx([0.1])


def test_all_else_is_search_r1(read_recipe):
    plain, formed = read_recipe("search_r1"), read_recipe("search_r1_format")
    assert (plain.pop("lr"), formed.pop("lr")) == (1e-6, 5e-7)
    for recipe in (plain, formed):
        del recipe["description"]
        [stage] = recipe["stages"]
        del stage["signals"], stage["credit"]
    assert plain == formed
