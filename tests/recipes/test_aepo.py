"""AEPO, by hand."""

from __future__ import annotations

import pytest

from agentgym.config import build


async def test_rewards_are_arpos(stage, episode):
    episodes = [episode(text=r"\boxed{1}", success=True), episode(text=r"\boxed{2}"), episode(text="?")]
    seen = [[s.advantage for s in await stage(name, "rl").score(episodes)] for name in ("arpo", "aepo")]
    assert seen[0] == seen[1]


def test_loss_is_arpos_where_the_gradient_differs(stage):
    # The clip keeps its value, -1.2, and its gradient, which tests/trainers/test_losses.py checks.
    assert stage("aepo", "rl").loss([1, -1], [[1.5, 1.0], [4.0]]) == pytest.approx(0.8 / 3)
    assert [term.keep_high for term in stage("aepo", "rl").losses] == [True]


def test_the_share_of_rollouts_from_the_prompt_is_balanced(read_recipe):
    rollout = build("rollout", read_recipe("aepo")["stages"][0]["rollout"])
    assert rollout.initial_rollouts == "balanced"
    assert rollout.fork_penalty > 0
