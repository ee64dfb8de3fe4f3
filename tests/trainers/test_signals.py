"""What signals write on the last turn of each trajectory."""

from __future__ import annotations

import pytest

from agentgym.config import build, names
from agentgym.errors import AgentgymError
from agentgym.services import Services
from agentgym.types import Outcome, Tokens, Turn

FAILURES = [outcome for outcome in Outcome if not outcome.is_valid]


async def test_return_sums_rewards_along_each_branch_of_a_tree(group):
    empty = Tokens(())
    group.turns = [
        Turn(None, empty, empty, reward=1.0),
        Turn(0, empty, empty, reward=0.5, outcome=Outcome.DONE),
        Turn(0, empty, empty, reward=-2.0),
        Turn(2, empty, empty, reward=0.25, outcome=Outcome.MAX_TURNS),
    ]
    await build("signal", "env_return")(group, Services())
    assert [turn.signals for turn in group.turns] == [{}, {"return": 1.5}, {}, {"return": -0.75}]


@pytest.mark.parametrize("outcome", FAILURES)
@pytest.mark.parametrize("signal", sorted({*names("signal")} - {"llm_judge"}))  # it asks a model
async def test_a_failure_of_the_machinery_gets_no_number(group, episode, signal, outcome):
    failed = episode(group, outcome=outcome, info={"success": True, "tool_calls": 1})
    fine = episode(group, info={"success": True, "tool_calls": 1})
    await build("signal", signal)(group, Services())
    assert failed.signals == {}
    assert fine.signals


@pytest.mark.parametrize(("success", "value"), [(True, 1.0), (False, 0.0)])
async def test_success(group, episode, success, value):
    scored = episode(group, actions=[1, 1], info={"success": success})
    await build("signal", "success")(group, Services())
    assert scored.signals == {"success": value}


async def test_success_is_0_when_a_limit_came_first_and_an_error_when_the_environment_says_nothing(group, episode):
    cut = episode(group, outcome=Outcome.MAX_TOKENS)
    await build("signal", "success")(group, Services())
    assert cut.signals == {"success": 0.0}
    episode(group, info={"sucess": True})
    with pytest.raises(AgentgymError, match=r"task-1.*info\['success'\].*did you mean 'sucess'"):
        await build("signal", "success")(group, Services())


async def test_tool_calls_is_the_last_count_reported(group, episode):
    done = episode(group, actions=[1, 1], info={"tool_calls": 3})
    cut = episode(group, actions=[1, 1, 1], outcome=Outcome.MAX_TOKENS)
    group.turns[cut.leaf - 2].info, group.turns[cut.leaf - 1].info = {"tool_calls": 1}, {"tool_calls": 2}
    await build("signal", "tool_calls")(group, Services())
    assert (done.signals, cut.signals) == ({"tool_calls": 3.0}, {"tool_calls": 2.0})


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        ([r"so \boxed{4}"], 1.0),
        ([r"\boxed{\frac{1}{2}} it is"], 1.0),
        ([r"<code>print(2)</code>", r"\boxed{2}"], 1.0),
        (["<code>\nprint(1)\n</code> <code>2</code>", r"\boxed{2}"], 1.0),
        (["no answer"], 0.0),
        ([r"\boxed{1} or \boxed{2}"], 0.0),
        ([r"\boxed{\frac{1}{2}"], 0.0),
        ([r"\boxed{\left\{x \right.}"], 1.0),
        ([r"\boxed{1}", "and so on"], 0.0),
        ([r"<code>print(2)", r"\boxed{2}"], 0.0),
        ([r"<code>1</code></code>", r"\boxed{2}"], 0.0),
        ([r"</code>1<code> \boxed{2}"], 0.0),
    ],
)
async def test_boxed_format(group, episode, texts, value):
    scored = episode(group, actions=[1] * len(texts), texts=texts)
    await build("signal", "boxed_format")(group, Services())
    assert scored.signals == {"boxed_format": value}


async def test_boxed_format_is_blind_to_observations(group, episode):
    scored = episode(group, actions=[1, 1], texts=["<code>print()</code>", "done"])
    for turn in group.turns:
        turn.observation = r"\boxed{7}"
    await build("signal", "boxed_format")(group, Services())
    assert scored.signals == {"boxed_format": 0.0}


async def test_recall_is_the_last_reported_and_0_where_the_task_names_nothing_to_find(group, episode):
    found = episode(group, actions=[1, 1, 1])
    group.turns[found.leaf - 2].info, group.turns[found.leaf - 1].info = {"recall": 0.25}, {"recall": 0.75}
    nothing = episode(group, actions=[1, 1])
    await build("signal", "recall")(group, Services())
    assert (found.signals, nothing.signals) == ({"recall": 0.75}, {"recall": 0.0})


async def test_malformed_calls_is_the_last_count_reported_and_0_without_one(group, episode):
    corrected = episode(group, actions=[1, 1, 1])
    group.turns[corrected.leaf - 1].info = {"malformed_calls": 2}
    fine = episode(group, info={"tool_calls": 1})
    await build("signal", "malformed_calls")(group, Services())
    assert (corrected.signals, fine.signals) == ({"malformed_calls": 2.0}, {"malformed_calls": 0.0})


async def test_judgements_are_discounted_by_their_number_and_worth_the_gold_that_they_accepted(group, episode):
    scored = episode(group, actions=[1] * 5)
    group.turns[0].info = {"recall": 0.25}
    group.turns[1].info = {"judged": "yes", "useful": False}
    group.turns[2].info = {"recall": 0.75}
    group.turns[3].info = {"judged": "no", "useful": True, "recall": 1.0}
    group.turns[4].info = {"judged": "no", "useful": False}
    spec = {"name": "judgements", "agree": 1.0, "accept_bad": -4.0, "reject_good": -2.0, "gamma": 0.5}
    await build("signal", spec)(group, Services())
    assert scored.signals["judge_correctness"] == -4.0 - 2.0 * 0.5 + 1.0 * 0.25
    assert scored.signals["judge_utility"] == 0.25
    assert scored.signals["judge_accuracy"] == pytest.approx(1 / 3)
    assert (scored.signals["judge_sensitivity"], scored.signals["judge_specificity"]) == (0.0, 0.5)
