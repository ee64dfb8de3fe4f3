"""The account of what branching saved, on a forest that is counted by hand."""

from __future__ import annotations

import pytest

from agentgym.trainers.branching import branching, spent
from agentgym.types import Group, Outcome, Task, Tokens, Turn


def forest(name: str, *turns: tuple[int | None, int, int]) -> Group:
    """(parent, sampled tokens, tool calls up to here) of each turn."""
    made = [
        Turn(parent, Tokens((0,)), Tokens((1,) * sampled), outcome=Outcome.DONE, info={"tool_calls": calls})
        for parent, sampled, calls in turns
    ]
    return Group(name, Task("t", "", ""), made)


def test_an_account_of_two_groups():
    # 0 - 1 - 2      one tree: 3 and 4 branch off after the first turn, 5 off 3 after the second.
    #   \ 3 - 6      paths 0-1-2, 0-3-6, 0-3-5, 0-4: 2+3+4, 2+5+8, 2+5+7, 2+6 tokens of 2+3+4+5+6+7+8 sampled;
    #   |   \ 5      calls 1+1+0, 1+1+1, 1+1+0, 1+0 of 1+1+1+1 made (turns 0, 1, 3, 6).
    #   \ 4
    branched = forest("g1", (None, 2, 1), (0, 3, 2), (1, 4, 2), (0, 5, 2), (0, 6, 1), (3, 8, 3), (3, 7, 2))
    flat = forest("g2", (None, 10, 1), (0, 10, 1), (None, 5, 0))
    assert spent([branched, flat]) == {"tokens_sampled": 35 + 25, "tool_calls_made": 4 + 1}
    seen = branching([branched, flat])
    assert seen == {
        "forks": 1.5,
        "forks_per_turn": [1.0, 0.5],
        "forks_on_top3": 1.0,
        "sampled_share": pytest.approx((35 + 25) / (9 + 15 + 14 + 8 + 25)),
        "tool_calls_saved": pytest.approx(1 - (4 + 1) / (2 + 3 + 2 + 1 + 1)),
    }


def test_forks_on_the_busiest_trajectories():
    """Two forks on the first trajectory, one each on four others: four of six."""
    group = forest("g", *[(None, 1, 0)] * 5, (0, 1, 0), (5, 1, 0), (0, 1, 0), (5, 1, 0))
    for root in range(1, 5):
        group.turns += forest("", (root, 1, 0), (root, 1, 0)).turns
    assert branching([group])["forks_on_top3"] == pytest.approx(4 / 6)


def test_what_was_given_up_is_spent_and_no_trajectory():
    # Two ends of 2 + 1 and 2 + 3 tokens; the third branch, of 5, was given up, and so was one that was refused.
    group = forest("g", (None, 2, 1), (0, 1, 2), (0, 3, 2), (0, 5, 2))
    group.turns[3].outcome = Outcome.CANCELLED
    group.turns[0].info["fork_refused"] = "a thread"
    seen = branching([group])
    assert (seen["forks"], seen["forks_refused"]) == (2.0, 1)
    assert seen["sampled_share"] == pytest.approx(11 / 8)
    assert seen["tool_calls_saved"] == pytest.approx(1 - 4 / 4)


def test_nothing_to_tell_where_nothing_branched():
    assert branching([forest("g", (None, 1, 0), (0, 1, 0), (None, 1, 0))]) == {"forks": 0.0}
