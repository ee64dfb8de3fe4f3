"""Losses and their gradients against closed forms, exact enumeration and finite differences, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.trainers.base import TokenBatch


def batch(ratio, advantage, ref=None, entropy=None) -> TokenBatch:
    """Tokens with the given probability ratios; logprobs is a leaf."""
    old = torch.linspace(-3.0, -0.5, len(ratio), dtype=torch.float64)
    logprobs = (old + torch.tensor(ratio, dtype=torch.float64).log()).requires_grad_()
    entropy = torch.zeros_like(old) if entropy is None else torch.tensor(entropy, dtype=torch.float64)
    advantages = torch.tensor(advantage, dtype=torch.float64)
    return TokenBatch(logprobs, entropy.requires_grad_(), old, advantages, ref)


# ratio, advantage -> loss, d loss / d logprob, clipped (clip_low 0.2, clip_high 0.3, dual_clip 4)
CASES = [
    (1.0, 2.0, -2.0, -2.0, 0),
    (1.25, 2.0, -2.5, -2.5, 0),  # inside: -r A
    (1.5, 2.0, -2.6, 0.0, 1),  # above 1.3, A > 0: stopped
    (0.5, 2.0, -1.0, -1.0, 0),  # below 0.8, A > 0: may come back
    (0.9, -2.0, 1.8, 1.8, 0),
    (0.5, -2.0, 1.6, 0.0, 1),  # below 0.8, A < 0: stopped at 0.8
    (1.5, -2.0, 3.0, 3.0, 0),  # above 1.3, A < 0: may come back
    (6.0, -2.0, 8.0, 0.0, 1),  # above dual_clip, A < 0: stopped at 4
    (6.0, 2.0, -2.6, 0.0, 1),  # dual clip has no say for A > 0
    (6.0, 0.0, 0.0, 0.0, 0),
]


def test_ppo_clip_case_by_case():
    ratio, advantage, losses, gradients, clipped = zip(*CASES, strict=True)
    loss = build("loss", {"name": "ppo_clip", "clip_low": 0.2, "clip_high": 0.3, "dual_clip": 4})
    tokens = batch(ratio, advantage)
    value = loss(tokens)
    value.sum().backward()
    assert value.tolist() == pytest.approx(losses)
    assert tokens.logprobs.grad.tolist() == pytest.approx(gradients)
    metrics = loss.metrics(tokens)
    assert metrics["clip_frac"].tolist() == list(clipped)
    assert metrics["ratio_mean"].tolist() == pytest.approx(ratio)
    assert metrics["approx_kl"].tolist() == pytest.approx([r - 1 - math.log(r) for r in ratio])
    assert not any(value.requires_grad for value in metrics.values())


def test_a_kept_gradient_is_that_of_the_bound():
    """Above 1.3 a good token still counts 1.3 times; all else is as without."""
    ratio, advantage, losses, gradients, _ = zip(*CASES, strict=True)
    fields = {"clip_low": 0.2, "clip_high": 0.3, "dual_clip": 4, "keep_high": True}
    tokens = batch(ratio, advantage)
    value = build("loss", {"name": "ppo_clip", **fields})(tokens)
    value.sum().backward()
    kept = [-1.3 * a if r > 1.3 and a > 0 else g for r, a, g in zip(ratio, advantage, gradients, strict=True)]
    assert value.tolist() == pytest.approx(losses)
    assert tokens.logprobs.grad.tolist() == pytest.approx(kept)


def test_without_dual_clip_a_bad_token_pushes_however_likely_it_became():
    tokens = batch([6.0], [-2.0])
    value = build("loss", "ppo_clip")(tokens)
    value.sum().backward()
    assert (value.item(), tokens.logprobs.grad.item()) == pytest.approx((12.0, 12.0))


@pytest.mark.parametrize(
    ("table", "message"),
    [({"clip_low": 1.5}, "clip_low"), ({"clip_high": -0.1}, "clip_high"), ({"dual_clip": 1.0}, "dual_clip")],
)
def test_ppo_clip_refuses_nonsense(table, message):
    with pytest.raises(ConfigError, match=message):
        build("loss", {"name": "ppo_clip", **table})


LOGITS = torch.tensor([0.3, -1.2, 0.9, 0.0, -0.4], dtype=torch.float64)
REFERENCE = torch.tensor([-0.5, 0.4, 0.1, 1.0, -1.5], dtype=torch.float64).log_softmax(0)


def on_policy_gradient(estimator: str) -> torch.Tensor:
    """Expected gradient with respect to the logits, over every token the policy could draw."""
    logits = LOGITS.clone().requires_grad_()
    logprobs = logits.log_softmax(0)
    zeros = torch.zeros_like(REFERENCE)
    losses = build("loss", {"name": "kl", "estimator": estimator})(
        TokenBatch(logprobs, zeros, logprobs.detach(), zeros, REFERENCE)
    )
    (logprobs.detach().exp() * losses).sum().backward()
    return logits.grad


def test_k2_has_the_gradient_of_the_reverse_kl():
    p = LOGITS.softmax(0)
    log_ratio = p.log() - REFERENCE
    closed_form = p * (log_ratio - (p * log_ratio).sum())  # d KL(p || ref) / d logits
    assert torch.allclose(on_policy_gradient("k2"), closed_form, atol=1e-12)
    finite = torch.empty_like(p)
    for i in range(len(p)):
        up, down = LOGITS.clone(), LOGITS.clone()
        up[i] += 1e-5
        down[i] -= 1e-5
        values = [(q.exp() * (q - REFERENCE)).sum() for q in (up.log_softmax(0), down.log_softmax(0))]
        finite[i] = (values[0] - values[1]) / 2e-5
    assert torch.allclose(on_policy_gradient("k2"), finite, atol=1e-9)


def test_k3_has_the_gradient_of_the_forward_kl():
    closed_form = LOGITS.softmax(0) - REFERENCE.exp()  # d KL(ref || p) / d logits
    assert torch.allclose(on_policy_gradient("k3"), closed_form, atol=1e-12)
    assert not torch.allclose(on_policy_gradient("k3"), on_policy_gradient("k2"), atol=1e-2)


def test_k1_has_no_gradient():
    assert torch.allclose(on_policy_gradient("k1"), torch.zeros(5, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_estimate_the_kl_without_bias(estimator):
    logprobs = LOGITS.log_softmax(0)
    tokens = TokenBatch(logprobs, logprobs, logprobs, logprobs, REFERENCE)
    estimate = build("loss", {"name": "kl", "estimator": estimator}).metrics(tokens)["kl"]
    exact = torch.nn.functional.kl_div(REFERENCE, logprobs, log_target=True, reduction="sum")
    assert (logprobs.exp() * estimate).sum().item() == pytest.approx(exact.item())


def test_k2_is_half_the_squared_log_ratio():
    tokens = batch([1.0, 1.0], [0.0, 0.0])
    tokens.ref_logprobs = tokens.old_logprobs - torch.tensor([3.0, -1.0], dtype=torch.float64)
    assert build("loss", {"name": "kl", "estimator": "k2"})(tokens).tolist() == pytest.approx([4.5, 0.5])


def test_kl_says_so_when_there_is_no_reference():
    loss = build("loss", "kl")
    assert loss.needs_reference
    with pytest.raises(ValueError, match="ref_logprobs"):
        loss(batch([1.0], [0.0]))


def test_sft_raises_the_probability_of_every_token_alike():
    tokens = batch([0.5, 2.0], [-1.0, 7.0])
    loss = build("loss", "sft")
    value = loss(tokens)
    value.sum().backward()
    assert value.tolist() == pytest.approx([3 + math.log(2), 0.5 - math.log(2)])
    assert tokens.logprobs.grad.tolist() == [-1.0, -1.0]
    assert loss.metrics(tokens)["nll"].tolist() == value.tolist()


def test_entropy_bonus_raises_entropy():
    tokens = batch([1.0, 1.0], [0.0, 0.0], entropy=[0.25, 1.5])
    loss = build("loss", {"name": "entropy_bonus", "coef": 0.01})
    value = loss(tokens)
    value.sum().backward()
    assert value.tolist() == [-0.25, -1.5]
    assert tokens.entropy.grad.tolist() == [-1.0, -1.0]
    assert loss.metrics(tokens)["entropy"].tolist() == [0.25, 1.5]


def test_only_kl_needs_a_reference():
    assert [build("loss", name).needs_reference for name in ("ppo_clip", "sft", "entropy_bonus")] == [False] * 3
