"""Search-R1 for the built-in policy, by hand: imitation of search traces, then reinforcement by exact match."""

from __future__ import annotations

from math import log

import pytest


def test_cold_start_is_the_mean_negative_log_likelihood_of_all_tokens(stage):
    # Old logprob -2, so ratio 1 is -2 and ratio 3 is -2 + ln 3: (2 + 2 + 2 + 2 - ln 3) / 4.
    assert stage("search", "cold_start").loss([0, 0], [[1.0, 1.0], [1.0, 3.0]]) == pytest.approx(2 - log(3) / 4)


async def test_cold_start_keeps_what_all_earns_the_same_and_plays_each_once(stage, episode, read_recipe):
    cold = stage("search", "cold_start")
    batch = await cold.score([episode(1.0), episode(1.0)])
    assert cold.sampler.start(source=None, seed=0).admit(batch) == 1.0
    assert "pool" not in read_recipe("search")["stages"][0]


async def test_advantages(stage, episode):
    # Exact match 1, 0, 0, 0: mean 1/4; sample variance ((3/4)^2 + 3 (1/4)^2) / 3 = 1/4; A = 1.5, -0.5, -0.5, -0.5.
    batch = await stage("search", "rl").score([episode(r) for r in (1.0, 0.0, 0.0, 0.0)])
    assert [s.advantage for s in batch] == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)


def test_loss(stage):
    # A = 1.5: ratio 2 is cut at 1.28: -1.92, ratio 1: -1.5. A = -0.5: ratio 0.5 is cut at 0.8: 0.4, ratio 40 is
    # bounded at 10: 5. Every token alike: (-1.92 - 1.5 + 0.4 + 5) / 4.
    value = stage("search", "rl").loss([1.5, -0.5], [[2.0, 1.0], [0.5, 40.0]])
    assert value == pytest.approx((-1.92 - 1.5 + 0.4 + 5) / 4)
