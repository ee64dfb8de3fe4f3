"""Search-R1, by hand."""

from __future__ import annotations

from math import log, sqrt

import pytest


async def test_exact_match_is_all_that_counts(stage, episode):
    # Rewards 1, 0, 0, 0, 0: mean 1/5; squares 16/25 + 4/25, sample variance (20/25) / 4 = 1/5. A = (4/5, -1/5)
    # sqrt(5).
    episodes = [
        episode(actions=[3, 2], observations=[9], success=True, reward=7.0),
        *[episode() for _ in range(4)],
    ]
    batch = await stage("search_r1", "rl").score(episodes)
    assert [s.reward for s in batch] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert [s.advantage for s in batch] == pytest.approx([0.8 * sqrt(5), *[-0.2 * sqrt(5)] * 4], rel=1e-5)


def test_loss(stage):
    # A = 1: ratio 1.5 is cut at 1.2, 1.1 stays: -2.3. A = -1: ratio 0.5 is held at 0.8. Every token alike: -1.5
    # / 3. KL, k3 = exp(-d) - 1 + d: d = ln 2 gives ln 2 - 1/2, d = 0 gives 0, d = -ln 2 gives 1 - ln 2: 1/2 over
    # 3 tokens.
    value = stage("search_r1", "rl").loss([1, -1], [[1.5, 1.1], [0.5]], [[log(2), 0.0], [-log(2)]])
    assert value == pytest.approx(-0.5 + 0.001 * 0.5 / 3)


def test_settings(read_recipe):
    recipe = read_recipe("search_r1")
    assert (recipe["group_size"], recipe["batch_size"], recipe["batch_size"] // recipe["minibatches"]) == (
        5,
        512,
        256,
    )
    assert recipe["warmup_steps"] == round(0.285 * recipe["stages"][0]["steps"])
