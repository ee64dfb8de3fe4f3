"""GRPO-TCR, by hand."""

from __future__ import annotations

from math import sqrt

import pytest


async def test_rewards_and_advantages(stage, episode):
    # right, short: 1. wrong, 1 turn: -1. wrong, 3 turns: -1 + 2 * 0.1 = -0.8.
    # right, 10000 sampled and 8432 observed tokens: 18432 are 2048 into the buffer of 4096 that ends at 20480:
    # 1 - 0.5 = 0.5 (the prompt does not count).
    # mean (1 - 1 - 0.8 + 0.5) / 4 = -0.075; distances 1.075, -0.925, -0.725, 0.575, their squares sum to 2.8675.
    episodes = [
        episode(success=True),
        episode(),
        episode(actions=[1, 1, 1], observations=[1, 1]),
        episode(actions=[9000, 1000], observations=[8432], success=True),
    ]
    batch = await stage("grpo_tcr", "rl").score(episodes)
    assert [s.reward for s in batch] == pytest.approx([1.0, -1.0, -0.8, 0.5])
    std = sqrt(2.8675 / 3)
    assert [s.advantage for s in batch] == pytest.approx(
        [d / std for d in (1.075, -0.925, -0.725, 0.575)], rel=1e-5
    )


async def test_wrong_is_never_better_than_minus_0_6(stage, episode):
    batch = await stage("grpo_tcr", "rl").score([episode(actions=[1] * 9, observations=[1] * 8), episode()])
    assert [s.reward for s in batch] == pytest.approx([-0.6, -1.0])


def test_loss(stage):
    # A = 1: ratio 1.25 is free, 1.5 is cut at 1.28: -2.53; 0.5 is free: -0.5.
    # A = -1: ratio 20 is bounded at 10, 0.5 held at 0.8: 10.8. Every token alike: (-3.03 + 10.8) / 5 = 1.554.
    assert stage("grpo_tcr", "rl").loss([1, -1], [[1.25, 1.5, 0.5], [20.0, 0.5]]) == pytest.approx(1.554)
