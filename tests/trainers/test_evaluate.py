"""Evaluations, against episodes counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agentgym.trainers.base import Scored
from agentgym.trainers.describe import describe
from agentgym.trainers.evaluate import summarise
from agentgym.trainers.metrics.wilson import wilson
from agentgym.types import Group, Outcome, Task

Episode = Callable[..., Scored]


def play(episode: Episode, results: str) -> Group:
    """`+` solved, `-` not, `?` failed, `/` given up: 2 turns of 3 tokens, and 1, 2, ... tool calls."""
    outcomes = {"?": Outcome.ENV_ERROR, "/": Outcome.CANCELLED}
    group = Group(results, Task(results, "p", "a"))
    for i, result in enumerate(results):
        episode(
            group,
            actions=(3, 3),
            rewards=(0.25, float(result == "+")),
            outcome=outcomes.get(result, Outcome.DONE),
            info={"success": result == "+", "tool_calls": i + 1},
        )
    return group


def test_numbers(episode: Episode) -> None:
    result = summarise([play(episode, "++--"), play(episode, "----"), play(episode, "+?--+")])
    assert (result.tasks, result.episodes, result.errors) == (3, 12, 1)
    assert result.success == pytest.approx(4 / 12)
    assert result.reward == pytest.approx(0.25 + 4 / 12)
    assert result.tokens == 6
    assert result.tool_calls == pytest.approx((10 + 10 + 15 - 2) / 12)
    # 1 - C(wrong, k) / C(4, k): at k = 2, 1 - 1/6 for two of four; at k = 4 a task counts when it was ever solved.
    assert result.pass_at == pytest.approx({1: (0.5 + 0 + 0.5) / 3, 2: (5 / 6 + 0 + 5 / 6) / 3, 4: 2 / 3})
    low, high = result.interval
    assert (low, high) == pytest.approx((0.1381, 0.6094), abs=1e-4)


def test_a_task_that_is_played_again_is_sampled_again(episode: Episode) -> None:
    """Not another task, which would tell more."""
    again = summarise([play(episode, "++"), play(episode, "--"), play(episode, "++")])
    assert (again.tasks, again.episodes, again.success) == (2, 6, pytest.approx(4 / 6))
    assert again.pass_at == pytest.approx({1: 0.5, 2: 0.5})
    assert again.interval == pytest.approx(wilson(2.25 * 4 / 6, 2.25))  # 6 (2/9) over (4/3)^2 + (4/3)^2, times 6


def test_a_failed_episode_lowers_nothing(episode: Episode) -> None:
    assert summarise([play(episode, "+?")]).success == 1.0
    assert summarise([play(episode, "+?"), play(episode, "??")]).errors == 3


def test_an_episode_that_was_given_up_neither_counts_nor_failed(episode: Episode) -> None:
    assert summarise([play(episode, "+-//?")]) == summarise([play(episode, "+-?")])
    described = describe([play(episode, "+-//?-")], [])
    assert (described["error_share"], described["episodes"], described["tokens_sampled"]) == (1 / 4, 4, 6 * 6)
    assert describe([play(episode, "//")], [])["error_share"] == 0


def test_no_valid_episode_is_an_error_and_no_score(episode: Episode) -> None:
    with pytest.raises(ValueError, match="no valid episode"):
        summarise([play(episode, "??")])
