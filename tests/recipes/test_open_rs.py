"""open-rs, by hand."""

from __future__ import annotations

from math import sqrt

import pytest


async def test_rewards_and_advantages(stage, episode):
    # Half of 3584 tokens: (1 + cos 90) / 2 = 1/2; all of them: 0. Format 1 if boxed, cosine times 2.
    # right, boxed, half: 1 + 2 (0.5 + 0.25) = 2.5;     right, boxed, full: 1 + 2 (0.5) = 2
    # wrong, boxed, half: 1 - 2 (0.5 + 0.25) = -0.5;    wrong, not boxed, full: 0 - 2 (0.5) = -1
    # mean 0.75, distances 1.75, 1.25, -1.25, -1.75, squares sum to 9.25.
    boxed = r"\boxed{3}"
    episodes = [
        episode(actions=[1792], text=boxed, success=True),
        episode(actions=[3584], text=boxed, success=True),
        episode(actions=[1792], text=boxed),
        episode(actions=[3584], text="3"),
    ]
    batch = await stage("open_rs", "rl").score(episodes)
    assert [s.reward for s in batch] == pytest.approx([2.5, 2.0, -0.5, -1.0])
    std = sqrt(9.25 / 3)
    assert [s.advantage for s in batch] == pytest.approx([d / std for d in (1.75, 1.25, -1.25, -1.75)], rel=1e-5)


def test_loss(stage):
    # A = 1, ratios 2 (cut at 1.2) and 0.6: mean -0.9. A = -2, ratio 1.5: +3. Every sequence alike: 2.1 / 2.
    assert stage("open_rs", "rl").loss([1, -2], [[2.0, 0.6], [1.5]]) == pytest.approx(1.05)
