"""Memory-R1 by PPO, by hand."""

from __future__ import annotations

import pytest
import torch

from agentgym.trainers.base import TokenBatch


def test_what_each_token_did_is_what_the_critic_did_not_expect(stage, rewarded_episode):
    # Reward 1 after three tokens at which the critic thinks 0.2, 0.5, 0.4: with gamma = lam = 1, A = 1 - V. And
    # reward 0 after one at which it thinks 0.6: A = -0.6. Mean (0.8 + 0.5 + 0.6 - 0.6) / 4 = 0.325; squares
    # (0.64 + 0.25 + 0.36 + 0.36) / 4 = 0.4025, variance 0.4025 - 0.105625.
    batch = [rewarded_episode((1, 2), 1.0, [0.2, 0.5, 0.4]), rewarded_episode((1,), 0.0, [0.6])]
    for step in stage("memory_r1_ppo", "rl").credit[1:]:
        batch = step(batch)
    root = (0.4025 - 0.105625) ** 0.5
    wanted = [(a - 0.325) / root for a in (0.8, 0.5, 0.6, -0.6)]
    assert [a for scored in batch for a in scored.token_advantages] == pytest.approx(wanted)
    assert [goal for scored in batch for goal in scored.goals] == pytest.approx([1.0, 1.0, 1.0, 0.0])


def test_loss(stage):
    # A = 2, ratio 1.5 cut at 1.2: -2.4. The critic thinks 0.9, thought 0.5 and should think 1: it may count as 0.7
    # only, so 0.09 / 2. No KL: the reference is the policy.
    def one(value: float) -> torch.Tensor:
        return torch.tensor([value], dtype=torch.float64)

    logprob = one(-2.0) + one(1.5).log()
    tokens = TokenBatch(logprob, one(0.0), one(-2.0), one(2.0), logprob, one(0.9), one(0.5), one(1.0))
    losses = stage("memory_r1_ppo", "rl").losses
    total = sum(term.coef * float(term(tokens)) for term in losses)
    assert total == pytest.approx(-2.4 + 0.1 * 0.045)


def test_there_is_no_group_to_compare_with(read_recipe):
    assert read_recipe("memory_r1_ppo")["group_size"] == 1
    assert read_recipe("memory_r1_ppo")["stages"][0]["sampler"]["drop_zero_spread"] is False


@pytest.fixture
def rewarded_episode(episode):
    from agentgym.trainers.base import Scored

    from .conftest import make_group

    def make(actions, reward, values):
        group = make_group(f"{values}", [episode(actions=actions, observations=(3,) * (len(actions) - 1))], {})
        return Scored(group, len(group.turns) - 1, reward=reward, values=values)

    return make
