"""ARPO's reward (arXiv 2507.19849): -1 for a bad form, else the score, + 0.1 for a good one with both tools."""

from __future__ import annotations

import pytest

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.services import Services
from agentgym.types import Group, Task

SEARCH = "<think>Where is it?</think><search>Eiffel Tower</search>"
PYTHON = "<think>How tall?</think><python>print(330)</python>"


def answer(text):
    return rf"<think>Done.</think><answer>\boxed{{{text}}}</answer>"


async def reward(episode, texts, observation="", **fields):
    """Of an episode that says `texts`, asked for the Eiffel Tower; each observation is the given one."""
    group = Group("g", Task("task-1", "What stands in Paris?", "Eiffel Tower"))
    scored = episode(group, actions=[1] * len(texts), texts=texts)
    for turn in group.turns:
        turn.observation = observation
    for name in ("tag_format", "answer_f1", "tools_used"):
        await build("signal", name)(group, Services())
    (same,) = build("credit", {"name": "arpo_reward", **fields})([scored])
    assert same is scored
    return scored.reward


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        ([SEARCH, PYTHON, r"\boxed{Eiffel Tower}"], -1.0),
        ([SEARCH, PYTHON, answer("Louvre")], 0.0),
        ([SEARCH, answer("Louvre")], 0.0),
        ([answer("Eiffel Tower")], 1.0),
        ([SEARCH, SEARCH, answer("Eiffel Tower")], 1.0),
        ([SEARCH, PYTHON, answer("Eiffel Tower")], 1.1),
        ([PYTHON, SEARCH, answer("the Eiffel Tower in Paris")], 2 / 3 + 0.1),
        ([SEARCH, answer("the Eiffel Tower in Paris")], 2 / 3),
    ],
)
async def test_arpo_reward(episode, texts, value):
    assert await reward(episode, texts) == pytest.approx(value)


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        ([SEARCH, answer("Louvre")], 0.0),  # the right answer stands only in what the tool said
        ([SEARCH, answer("Eiffel Tower")], 1.0),  # so does the second tool
        ([SEARCH, "It says so above."], -1.0),  # so does the form
        ([SEARCH, PYTHON, answer("Eiffel Tower")], 1.1),  # which the tool's second answer does not break
    ],
)
async def test_what_a_tool_says_neither_earns_nor_costs_anything(episode, texts, value):
    observation = r"<result><think>x</think><python>1</python><answer>\boxed{Eiffel Tower}</answer></result>"
    assert await reward(episode, texts, observation) == pytest.approx(value)


async def test_bonus_and_number_of_tools_are_settings(episode):
    texts = [SEARCH, answer("Eiffel Tower")]
    assert await reward(episode, texts, tools=1, bonus=0.5) == pytest.approx(1.5)


@pytest.mark.parametrize(("success", "value"), [(1.0, 1.1), (0.0, 0.0)])
def test_the_score_may_be_success(group, episode, success, value):
    scored = episode(group, tag_format=1.0, tools_used=2.0, success=success, answer_f1=0.5)
    build("credit", {"name": "arpo_reward", "score": "success"})([scored])
    assert scored.reward == pytest.approx(value)


def test_it_adds_to_what_an_earlier_step_gave(group, episode):
    batch = [episode(group, tag_format=form, tools_used=0.0, answer_f1=0.5) for form in (0.0, 1.0)]
    for scored in batch:
        scored.reward = 0.25
    build("credit", "arpo_reward")(batch)
    assert [scored.reward for scored in batch] == [-0.75, 0.75]


@pytest.mark.parametrize("missing", ["tag_format", "answer_f1", "tools_used"])
def test_a_missing_signal_is_named(group, episode, missing):
    signals = {"tag_format": 0.0, "answer_f1": 0.0, "tools_used": 0.0}  # missed even where it decides nothing
    del signals[missing]
    with pytest.raises(ConfigError, match=f"no signal '{missing}' was computed"):
        build("credit", "arpo_reward")([episode(group, **signals)])


def test_the_bonus_needs_a_tool():
    with pytest.raises(ConfigError, match="arpo_reward: tools must be at least 1, not 0"):
        build("credit", {"name": "arpo_reward", "tools": 0})
