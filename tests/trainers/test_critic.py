"""PPO's critic: advantages by their definition, and values and gradients as the plain model gives them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.trainers.base import LossTerm, Packing, Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.ppo_clip import PpoClip
from agentgym.trainers.losses.value import Value
from agentgym.types import Group, Task, Tokens, Turn

from .test_forgotten_gradient import forgetting, seen
from .test_packed_gradient import FORESTS, Gradient, assert_same, forest, model, uneven

PACKINGS: list[Packing] = ["tree", "flat"]
LOSSES: list[LossTerm] = [PpoClip(clip_low=1.0, clip_high=1e9), Value(clip=0.2, coef=0.3)]


def with_critic(packing: Packing) -> Gradient:
    """A learner whose critic has opinions."""
    learner = Gradient(model(), packing=packing, critic=True)
    assert learner.critic is not None
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in learner.critic.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return learner


def think(policy: Any, critic: Any, context: Sequence[int], action: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Log-probabilities and values of a turn's tokens by the plain model."""
    out = policy(input_ids=torch.tensor([[*context, *action]]), use_cache=False, output_hidden_states=True)
    here = slice(len(context) - 1, -1)
    logp = out.logits[0].log_softmax(-1)[here].gather(1, torch.tensor(action)[:, None])[:, 0]
    return logp, critic(out.hidden_states[-1][0, here])[:, 0]


def alone(scored: Scored, critic: Any) -> tuple[list[float], list[float]]:
    """Log-probabilities and values of a trajectory's tokens, each of its turns by itself."""
    group = scored.group
    turns = [
        think(model(), critic, seen(group, index), group.turns[index].action.ids)
        for index in group.path(scored.leaf)
    ]
    logprobs, values = ([value for turn in turns for value in turn[which].tolist()] for which in (0, 1))
    return logprobs, values


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("microbatch_tokens", [10**6, 40])
def test_values_are_those_of_every_turn_alone(packing: Packing, microbatch_tokens: int) -> None:
    batch = forgetting(forest(FORESTS["bushy"]))
    learner = with_critic(packing)
    learner.appraise(batch, microbatch_tokens)
    for scored in batch:
        assert scored.values == pytest.approx(alone(scored, learner.critic)[1], abs=1e-6)


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_gradient_is_that_of_every_turn_alone(packing: Packing) -> None:
    batch, rng = forgetting(forest(FORESTS["bushy"])), random.Random(0)
    for scored in batch:
        scored.values, scored.goals, scored.token_advantages = (
            [rng.gauss(0, 1) for _ in range(scored.length)] for _ in range(3)
        )
    learner, policy = with_critic(packing), model()
    critic = with_critic(packing).critic
    learner.update(batch, uneven(batch), LOSSES, lr=1.0, microbatch_tokens=40)
    for scored, weight in zip(batch, uneven(batch), strict=True):
        at = 0
        for index in scored.group.path(scored.leaf):
            action = scored.group.turns[index].action
            logp, values = think(policy, critic, seen(scored.group, index), action.ids)
            old, goals, advantages = (
                torch.tensor(numbers[at : at + len(action)], dtype=torch.float64)
                for numbers in (scored.values or [], scored.goals or [], scored.token_advantages or [])
            )
            at += len(action)
            near = torch.minimum(torch.maximum(values, old - 0.2), old + 0.2)
            errors = torch.maximum((values - goals) ** 2, (near - goals) ** 2) / 2
            ratio = (logp - torch.tensor(action.logprobs, dtype=torch.float64)).exp()
            ((-ratio * advantages + 0.3 * errors).sum() * weight).backward()
    wanted = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    wanted |= {f"critic.{name}": p.grad for name, p in critic.named_parameters()}  # type: ignore[union-attr]
    assert_same(learner.gradient, wanted)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.9, 0.8), (1.0, 0.0), (0.5, 1.0)])
def test_advantages_are_sums_of_surprises(gamma: float, lam: float, group: Group, episode: Any) -> None:
    scored = episode(group, actions=(2, 3))
    scored.reward, scored.values = 2.0, [0.3, -0.1, 0.7, 0.2, 0.9]
    build("credit", {"name": "gae", "gamma": gamma, "lam": lam})([scored])
    rewards, after = [0, 0, 0, 0, 2.0], [*scored.values[1:], 0.0]
    surprises = [r + gamma * b - a for r, a, b in zip(rewards, scored.values, after, strict=True)]
    wanted = [sum((gamma * lam) ** (k - t) * surprises[k] for k in range(t, 5)) for t in range(5)]
    assert scored.token_advantages == pytest.approx(wanted)
    assert scored.goals == pytest.approx([a + v for a, v in zip(wanted, scored.values, strict=True)])
    if gamma == lam == 1.0:
        assert scored.goals == pytest.approx([2.0] * 5)


def test_advantages_of_tokens_are_whitened_over_all_of_them(group: Group, episode: Any) -> None:
    batch = [episode(group, actions=(2,)), episode(group, actions=(1, 1))]
    batch[0].token_advantages, batch[1].token_advantages = [1.0, 3.0], [5.0, 7.0]
    build("credit", "whiten")(batch)  # mean 4, variance (9 + 1 + 1 + 9) / 4
    root = 5**0.5
    assert [a for s in batch for a in s.token_advantages] == pytest.approx(
        [-3 / root, -1 / root, 1 / root, 3 / root]
    )


def test_without_a_critic_there_is_no_advantage(group: Group, episode: Any) -> None:
    with pytest.raises(ConfigError, match="gae needs a critic"):
        build("credit", "gae")([episode(group)])


def test_a_critic_learns_and_comes_back() -> None:
    group = Group("g", Task("t", "p", "a"), [Turn(None, Tokens((5, 6)), Tokens((7, 8), (-1.0, -1.0)))])
    scored = Scored(group, 0, values=[0.0, 0.0], goals=[1.0, -1.0])
    learner = Learner(model(), critic=True)
    losses: list[LossTerm] = [Value(clip=None)]
    errors = [
        learner.update([scored], [0.5], losses, lr=1e-2, microbatch_tokens=100)["value_error"] for _ in range(30)
    ]
    assert errors[0] == pytest.approx(1.0)
    assert errors[-1] < 0.05
    learner.appraise([scored], 100)
    assert scored.values == pytest.approx([1.0, -1.0], abs=0.5)
    twin = Learner(model(seed=1), critic=True)
    twin.load_state_tensors(learner.state_tensors())
    again = Scored(group, 0)
    twin.appraise([again], 100)
    assert again.values == scored.values
