"""Memory-R1 for the built-in policy, by hand: imitation of traces with mistakes, then reinforcement by answers."""

from __future__ import annotations

from math import log

import pytest


def test_cold_start_is_the_mean_negative_log_likelihood_of_all_tokens(stage):
    # Old logprob -2, so ratio 1 is -2 and ratio 3 is -2 + ln 3: (2 + 2 + 2 - ln 3) / 3.
    assert stage("memory", "cold_start").loss([0, 0], [[1.0], [1.0, 3.0]]) == pytest.approx(2 - log(3) / 3)


async def test_cold_start_keeps_mistakes_and_plays_each_once(stage, episode, read_recipe):
    cold = stage("memory", "cold_start")
    batch = await cold.score([episode(0.0), episode(0.0)])
    assert cold.sampler.start(source=None, seed=0).admit(batch) == 1.0
    assert "pool" not in read_recipe("memory")["stages"][0]
    assert read_recipe("memory")["env"]["demo_error_rate"] > 0


async def test_advantages_are_one_for_the_managers_and_the_answerers_turns(stage, episode):
    # Half of the answers, all, none, none: mean 3/8; squares (1 + 25 + 9 + 9) / 64, sample variance 44 / 192.
    batch = await stage("memory", "rl").score(
        [episode(r, actions=(3, 2, 4), observations=(5, 5)) for r in (0.5, 1, 0, 0)]
    )
    spread = (44 / 192) ** 0.5
    assert [s.advantage for s in batch] == pytest.approx(
        [x / spread for x in (1 / 8, 5 / 8, -3 / 8, -3 / 8)], rel=1e-5
    )
    assert [advantage for _, advantage in batch[1].by_turn] == [batch[1].advantage] * 3


def test_loss(stage):
    # A = 1.5: ratio 2 is cut at 1.28: -1.92, ratio 1: -1.5. A = -0.5: ratio 0.5 is cut at 0.8: 0.4.
    value = stage("memory", "rl").loss([1.5, -0.5], [[2.0, 1.0], [0.5]])
    assert value == pytest.approx((-1.92 - 1.5 + 0.4) / 3)
