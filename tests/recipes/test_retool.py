"""ReTool, by hand: imitation of tool traces, then reinforcement."""

from __future__ import annotations

from math import log, sqrt

import pytest


def test_cold_start_is_the_mean_negative_log_likelihood_of_all_tokens(stage):
    # Old logprob -2, so ratio 1 is -2 and ratio 2 is -2 + ln 2: (2 + 2 + 2 - ln 2) / 3.
    assert stage("retool", "cold_start").loss([0, 0], [[1.0, 1.0], [2.0]]) == pytest.approx(2 - log(2) / 3)


async def test_cold_start_keeps_demonstrations_that_all_earn_the_same(stage, episode):
    cold = stage("retool", "cold_start")
    batch = await cold.score([episode(1.0), episode(1.0)])
    assert cold.sampler.start(source=None, seed=0).admit(batch) == 1.0


def test_cold_start_comes_first_and_samples_nothing(read_recipe):
    first, second = read_recipe("retool")["stages"]
    assert (first["name"], first["rollout"]) == ("cold_start", "demonstrations")
    assert (second["name"], second["rollout"]) == ("rl", "independent")


async def test_advantages(stage, episode):
    # Returns 1, 1, 0, 1: mean 3/4; sample variance (3 (1/4)^2 + (3/4)^2) / 3 = 1/4; A = 0.5, 0.5, -1.5, 0.5.
    # Returns of 1 and -1 for right and wrong would give the same: A does not depend on scale and origin.
    rl = stage("retool", "rl")
    returns = (1.0, 1.0, 0.0, 1.0)
    batch = await rl.score([episode(r) for r in returns], [episode(2 * r - 1) for r in returns])
    assert [s.advantage for s in batch] == pytest.approx([0.5, 0.5, -1.5, 0.5] * 2, rel=1e-5)


def test_loss(stage):
    # A = 1: 1.5 is cut at 1.28, 1 stays: -2.28. A = -1.5: ratio 30 is bounded at 10: 15; sqrt(2): 1.5 sqrt(2).
    # Every token alike: (12.72 + 1.5 sqrt(2)) / 4.
    value = stage("retool", "rl").loss([1, -1.5], [[1.5, 1.0], [30.0, sqrt(2)]])
    assert value == pytest.approx((12.72 + 1.5 * sqrt(2)) / 4)
