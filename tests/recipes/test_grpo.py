"""GRPO, by hand."""

from __future__ import annotations

from math import log, sqrt

import pytest


async def test_advantages(stage, episode):
    # Rewards 1, 0, 0, 1: mean 1/2; sample variance 4 (1/2)^2 / 3 = 1/3; A = +-(1/2) sqrt(3) = +-0.866025.
    # Rewards 5, 3: mean 4; sample variance 2; A = +-1 / sqrt(2). The groups do not see each other.
    first, second = [episode(r) for r in (1.0, 0.0, 0.0, 1.0)], [episode(5.0), episode(3.0)]
    batch = await stage("grpo", "rl").score(first, second)
    a, b = sqrt(3) / 2, 1 / sqrt(2)
    assert [s.advantage for s in batch] == pytest.approx([a, -a, -a, a, b, -b], rel=1e-5)


def test_loss(stage):
    # Trajectory 1, A = 1: ratio 1.5 is cut at 1.2, 1.1 stays: (-1.2 - 1.1) / 2 = -1.15.
    # Trajectory 2, A = -1: ratio 0.5 is held at 0.8: +0.8. Every sequence alike: (-1.15 + 0.8) / 2 = -0.175.
    # KL, k3 = exp(-d) - 1 + d: d = ln 2 gives ln 2 - 1/2, d = 0 gives 0, d = -ln 2 gives 1 - ln 2:
    # ((ln 2 - 1/2) / 2 + 1 - ln 2) / 2 = (3 - 2 ln 2) / 8, times 0.04.
    value = stage("grpo", "rl").loss([1, -1], [[1.5, 1.1], [0.5]], [[log(2), 0.0], [-log(2)]])
    assert value == pytest.approx(-0.175 + 0.04 * (3 - 2 * log(2)) / 8)


async def test_a_group_without_spread_is_dropped(stage, episode):
    rl = stage("grpo", "rl")
    sampler = rl.sampler.start(source=None, seed=0)
    batch = await rl.score([episode(1.0), episode(1.0)], [episode(1.0), episode(0.0)])
    assert [sampler.admit(batch[:2]), sampler.admit(batch[2:])] == [0.0, 1.0]
