"""Lite PPO, by hand."""

from __future__ import annotations

from math import sqrt

import pytest


async def test_advantages(stage, episode):
    # Group means 2 and 0. Batch mean 1, squared distances 4 + 0 + 0.81 + 1.21 = 6.02, sample variance 6.02 / 3.
    # A = (+-1, +-0.1) / sqrt(6.02 / 3): the group that hardly differs stays small, where its own deviation
    # would have made it as loud as the other.
    batch = await stage("lite_ppo", "rl").score([episode(3.0), episode(1.0)], [episode(0.1), episode(-0.1)])
    std = sqrt(6.02 / 3)
    assert [s.advantage for s in batch] == pytest.approx([1 / std, -1 / std, 0.1 / std, -0.1 / std], rel=1e-5)


def test_loss(stage):
    # A = 2, ratios 1.5 (cut at 1.2), 1, 1: -2.4 - 2 - 2 = -6.4. A = -1, ratio 4, no dual clip: +4.
    # Every token alike: (-6.4 + 4) / 4 = -0.6; every sequence alike would be (-6.4 / 3 + 4) / 2 = +0.93.
    assert stage("lite_ppo", "rl").loss([2, -1], [[1.5, 1.0, 1.0], [4.0]]) == pytest.approx(-0.6)


async def test_groups_without_spread_stay(stage, episode):
    # They add nothing to the sum and their tokens count in the mean.
    rl = stage("lite_ppo", "rl")
    batch = await rl.score([episode(1.0), episode(1.0)], [episode(1.0), episode(0.0)])
    assert [s.advantage for s in batch[:2]] == [0.0, 0.0]
    assert rl.sampler.start(source=None, seed=0).admit(batch[:2]) == 1.0
