"""ARPO, by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from agentgym.config import build

RIGHT, WRONG, BROKEN = r"\boxed{1}", r"\boxed{2}", "one"


async def test_rewards_and_advantages(stage, episode):
    # right 1, wrong 0, without a box -1, all of the group: mean 0, squares 1 + 0 + 1 = 2, sample variance 2 / 2.
    batch = await stage("arpo", "rl").score(
        [episode(text=RIGHT, success=True), episode(text=WRONG), episode(text=BROKEN, success=True)]
    )
    assert [s.reward for s in batch] == [1.0, 0.0, -1.0]
    assert [s.advantage for s in batch] == pytest.approx([1 / sqrt(1), 0, -1 / sqrt(1)], rel=1e-5)


def test_loss(stage):
    # A = 1, ratio 1.5: cut at 1.2. A = -1, ratio 4: bounded at 3. Every token alike: (-1.2 - 1 + 3) / 3.
    assert stage("arpo", "rl").loss([1, -1], [[1.5, 1.0], [4.0]]) == pytest.approx(0.8 / 3)


def test_half_of_the_trajectories_start_at_the_prompt(read_recipe):
    recipe = read_recipe("arpo")
    rollout = build("rollout", recipe["stages"][0]["rollout"])
    assert (recipe["group_size"], rollout.initial_rollouts, rollout.beam_size) == (16, 8, 2)
    assert [rollout.probability(rise) for rise in (0.0, 1.0, -1.0, 9.0)] == pytest.approx([0.5, 0.7, 0.3, 1.0])
