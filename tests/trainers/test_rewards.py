"""Steps that shape rewards: values worked out from the papers' formulas."""

from __future__ import annotations

import math

import pytest

from agentgym.config import build
from agentgym.errors import ConfigError


def test_weighted_sum_adds_weighted_signals(group, episode):
    scored = episode(group, **{"return": 2.0, "format": 1.0, "unused": 100.0})
    scored.reward = 0.25  # what an earlier step gave
    build("credit", {"name": "weighted_sum", "weights": {"return": 1.5, "format": -0.5}})([scored])
    assert scored.reward == pytest.approx(0.25 + 1.5 * 2 - 0.5 * 1)


def test_weighted_sum_names_a_missing_signal_and_those_that_exist(group, episode):
    scored = episode(group, success=1.0, tool_calls=2.0)
    with pytest.raises(ConfigError, match=r"'succes'.*task-1.*did you mean 'success'.*success, tool_calls"):
        build("credit", {"name": "weighted_sum", "weights": {"succes": 1.0}})([scored])


def test_weighted_sum_without_weights_is_refused():
    with pytest.raises(ConfigError, match="weights is empty"):
        build("credit", {"name": "weighted_sum", "weights": {}})


@pytest.mark.parametrize(
    ("length", "punishment"),
    [(1, 0.0), (60, 0.0), (70, -0.5), (80, -1.0), (100, -2.0), (140, -2.0)],  # 40 of buffer, factor 2
)
def test_overlong_punishes_linearly_inside_the_buffer(group, episode, length, punishment):
    scored = episode(group, actions=[length])
    build("credit", {"name": "overlong", "max_length": 100, "buffer": 40, "factor": 2.0})([scored])
    assert scored.reward == pytest.approx(punishment)


@pytest.mark.parametrize(("count", "punishment"), [("policy", 0.0), ("all", -0.75)])
def test_overlong_counts_observations_only_when_told_and_never_the_prompt(group, episode, count, punishment):
    # sampled 20 + 30 = 50 tokens; observation 40 -> 90 in all; (90 - 60) / 40 = 0.75
    scored = episode(group, actions=[20, 30], contexts=[500, 40])
    build("credit", {"name": "overlong", "max_length": 100, "buffer": 40, "count": count})([scored])
    assert scored.reward == pytest.approx(punishment)


def test_overlong_buffer_must_fit():
    with pytest.raises(ConfigError, match=r"buffer must be in \[1, max_length = 10\], not 11"):
        build("credit", {"name": "overlong", "max_length": 10, "buffer": 11})


@pytest.mark.parametrize(
    ("correct", "length", "reward"),
    [
        (1, 0, 1.0),  # right: from 1.0 ...
        (1, 50, 0.75),
        (1, 25, 0.75 + math.sqrt(2) / 8),  # 0.5 + 0.5 (1 + cos 45) / 2
        (1, 100, 0.5),  # ... down to 0.5
        (1, 200, 0.5),
        (0, 0, -1.0),  # wrong: from -1.0 ...
        (0, 50, -0.75),
        (0, 100, -0.5),  # ... up to -0.5
        (0, 200, -0.5),
    ],
)
def test_cosine_length(group, episode, correct, length, reward):
    scored = episode(group, actions=[length], success=correct)
    build("credit", {"name": "cosine_length", "max_length": 100, "scale": 2})([scored])
    assert scored.reward == pytest.approx(2 * reward)


def test_cosine_length_counts_the_policys_tokens_only(group, episode):
    scored = episode(group, actions=[20, 30], contexts=[70, 80], success=1)
    build("credit", {"name": "cosine_length", "max_length": 100})([scored])
    assert scored.reward == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("correct", "turns", "reward"),
    [(1, 1, 1.0), (1, 4, 1.0), (0, 1, -1.0), (0, 2, -0.9), (0, 4, -0.7), (0, 5, -0.6), (0, 9, -0.6)],
)
def test_turn_shaped(group, episode, correct, turns, reward):
    scored = episode(group, actions=[1] * turns, success=correct)
    build("credit", "turn_shaped")([scored])
    assert scored.reward == pytest.approx(reward)
