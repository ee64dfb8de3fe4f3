"""A causal language model as the engine runs it: a forward pass whose attention the caller supplies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Attend = Callable[[int, Tensor, Tensor], Tensor]
"""(layer, q [tokens, heads, head_dim] scaled and rotated, kv [tokens, 2 * kv_heads, head_dim]) -> [tokens,
heads, head_dim]. Tokens of different sequences may lie side by side: who sees whom is the callee's business."""


class Decoder(Protocol):
    """layers, kv_heads, head_dim: the shape of the KV cache it needs."""

    layers: int
    kv_heads: int
    head_dim: int

    def __call__(self, ids: Tensor, positions: Tensor, attend: Attend, *, logits: bool) -> Tensor | None:
        """ids, positions [tokens] -> logits [tokens, vocabulary] in float32; None when they are not wanted."""
        ...

    def refresh(self) -> None:
        """The weights have changed."""
        ...
