"""Log-probabilities and entropies of tokens, against torch's own distributions and finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agentgym.trainers.token_stats import TokenStats, token_stats


def some(n: int = 7, vocab: int = 11) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(n, vocab, dtype=torch.float64) * 3, torch.randint(0, vocab, (n,))


def apply(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    result: tuple[Tensor, Tensor] = TokenStats.apply(logits, targets)  # type: ignore[no-untyped-call]
    return result


def test_values() -> None:
    logits, targets = some()
    logprobs, entropy = apply(logits, targets)
    known = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(logprobs, known.log_prob(targets))
    torch.testing.assert_close(entropy, known.entropy())


@pytest.mark.parametrize("output", [0, 1])
def test_gradients_by_finite_differences(output: int) -> None:
    logits, targets = some()
    assert torch.autograd.gradcheck(lambda x: apply(x, targets)[output], logits.requires_grad_())


def test_both_gradients_at_once() -> None:
    logits, targets = some()
    assert torch.autograd.gradcheck(lambda x: apply(x, targets), logits.requires_grad_())


@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_entropy_gradient_of_flat_and_of_peaked_distributions(scale: float) -> None:
    logits, targets = some()
    ours, plain = ((logits / 3 * scale).requires_grad_() for _ in range(2))
    apply(ours, targets)[1].sum().backward()  # type: ignore[no-untyped-call]
    logp = plain.log_softmax(-1)
    (-(logp.exp() * logp).sum()).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours.grad, plain.grad)


def test_bfloat16_logits_are_summed_in_float32() -> None:
    logits, targets = some(vocab=2000)
    narrow = logits.to(torch.bfloat16)
    logprobs, entropy = apply(narrow, targets)
    known = torch.distributions.Categorical(logits=narrow.double())
    assert logprobs.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(logprobs.double(), known.log_prob(targets), atol=1e-4, rtol=0)
    torch.testing.assert_close(entropy.double(), known.entropy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("max_logits", [1, 11, 40, 76])
def test_chunks_change_nothing(max_logits: int) -> None:
    logits, targets = some()
    results: list[list[Any]] = []
    for limit in (10**9, max_logits):
        torch.manual_seed(1)
        head = torch.nn.Linear(5, 11, bias=False).double()
        hidden = torch.randn(7, 5, dtype=torch.float64).requires_grad_()
        logprobs, entropy = token_stats(head, hidden, targets, limit)
        (logprobs * logits[:, 0] + entropy * logits[:, 1]).sum().backward()  # type: ignore[no-untyped-call]
        results.append([logprobs, entropy, hidden.grad, head.weight.grad])
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, whole, atol=1e-12, rtol=0)
