"""Text-to-SQL for the built-in policy, by hand: imitation of traces, then reinforcement by execution."""

from __future__ import annotations

from math import log

import pytest


def test_cold_start_is_the_mean_negative_log_likelihood_of_all_tokens(stage):
    # Old logprob -2, so ratio 1 is -2 and ratio 2 is -2 + ln 2: (2 + 2 + 2 - ln 2) / 3.
    assert stage("sql", "cold_start").loss([0, 0], [[1.0], [1.0, 2.0]]) == pytest.approx(2 - log(2) / 3)


async def test_cold_start_keeps_what_all_earns_the_same_and_plays_each_once(stage, episode, read_recipe):
    cold = stage("sql", "cold_start")
    batch = await cold.score([episode(1.0), episode(1.0)])
    assert cold.sampler.start(source=None, seed=0).admit(batch) == 1.0
    assert "pool" not in read_recipe("sql")["stages"][0]


async def test_advantages(stage, episode):
    # Right, right, wrong: mean 2/3; sample variance (2 (1/3)^2 + (2/3)^2) / 2 = 1/3; A = (1/3, 1/3, -2/3) sqrt(3).
    batch = await stage("sql", "rl").score([episode(r) for r in (1.0, 1.0, 0.0)])
    assert [s.advantage for s in batch] == pytest.approx([3**0.5 / 3, 3**0.5 / 3, -2 * 3**0.5 / 3], rel=1e-5)


def test_loss(stage):
    # A = 1: ratio 1.5 is cut at 1.28, ratio 0.9 stays: -2.18. A = -1: ratio 0.7 is held at 0.8, ratio 12 is
    # bounded at 10: 10.8. Every token alike: 8.62 / 4.
    value = stage("sql", "rl").loss([1.0, -1.0], [[1.5, 0.9], [0.7, 12.0]])
    assert value == pytest.approx(8.62 / 4)
