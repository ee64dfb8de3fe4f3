"""Log-probability and entropy of tokens from hidden states, without keeping more than one logits matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agentgym.errors import ConfigError


class TokenStats(torch.autograd.Function):
    """(logits [N, V], targets [N]) -> (logprobs [N], entropy [N]), float32 inside, exact gradients.

    d logprob / d logits = onehot - p;  d entropy / d logits = -p * (log p + entropy).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        values = logits if logits.dtype == torch.float64 else logits.float()
        logp = values - torch.logsumexp(values, -1, keepdim=True)
        entropy = -torch.linalg.vecdot(logp.exp(), logp)
        ctx.save_for_backward(logp, targets, entropy)
        ctx.dtype = logits.dtype
        return logp.gather(1, targets[:, None])[:, 0], entropy

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None]:
        grad_logprob, grad_entropy = grads
        logp, targets, entropy = ctx.saved_tensors
        p = logp.exp()
        grad = p * -grad_logprob[:, None]
        grad.scatter_add_(1, targets[:, None], grad_logprob[:, None])
        if grad_entropy is not None and bool(grad_entropy.any()):
            grad -= grad_entropy[:, None] * p * (logp + entropy[:, None])
        return grad.to(ctx.dtype), None


def token_stats(head: Any, hidden: Tensor, targets: Tensor, max_logits: int = 1 << 25) -> tuple[Tensor, Tensor]:
    """logprobs, entropy [N] of `targets` [N] after `hidden` [N, D]; at most `max_logits` logits at a time.

    For a large vocabulary the logits of each chunk are computed again in the backward pass.
    """
    rows = max(1, max_logits // head.weight.shape[0])
    if len(hidden) <= rows:
        return _chunk(head, hidden, targets)
    parts = [
        torch.utils.checkpoint.checkpoint(_chunk, head, h, t, use_reentrant=False)
        for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    ]
    logprobs, entropies = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _chunk(head: Any, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    apply: Any = TokenStats.apply  # untyped in torch
    result: tuple[Tensor, Tensor] = apply(head(hidden), targets)
    return result


def check_head(model: Any) -> None:
    """Raises ConfigError for a model whose logits are more than its head's output, which is what is read here."""
    for name, plain in (("final_logit_softcapping", None), ("logits_scaling", 1), ("logit_scale", 1)):
        if getattr(model.config, name, None) not in (None, plain):
            raise ConfigError(
                f"{type(model).__name__} changes the logits after its head (config.{name} = "
                f"{getattr(model.config, name)}), which training does not know"
            )
