"""Attention of one forward pass over the KV cache: one new token in every active slot, or many in a few.

Both are called once per layer with q [tokens, heads, head_dim], already scaled, and kv [tokens, 2 * kv_heads,
head_dim], keys before values; they write kv into the cache and return [tokens, heads, head_dim].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from agentgym.engines.kv_cache import KVCache


class DecodeAttention:
    """One token in each of the slots 0..n-1. positions [n]: where each goes. longest: their maximum.

    Matrix products over the cache as it lies, queries of one key-value head side by side: on the CPU that is
    several times faster at one token a sequence than the fused kernel.
    """

    def __init__(self, cache: KVCache, positions: Tensor, longest: int, equal: bool) -> None:
        self.cache = cache
        self.longest = longest
        self.positions = None if equal else positions.view(-1, 1, 1, 1)
        self.mask: Tensor | None = None
        if not equal:
            n, kv_heads, length = positions.shape[0], cache.kv_heads, longest + 1
            hidden = torch.arange(length, device=positions.device) > positions[:, None]
            mask = torch.zeros(n, length, dtype=cache.keys.dtype, device=positions.device)
            mask.masked_fill_(hidden, -torch.inf)
            self.mask = mask[:, None].expand(n, kv_heads, length).reshape(n * kv_heads, 1, length)

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        n, heads, head_dim = q.shape
        kv_heads, length = self.cache.kv_heads, self.longest + 1
        keys, values = self.cache.keys[layer, :n], self.cache.values[layer, :n]
        k, v = kv[:, :kv_heads], kv[:, kv_heads:]
        if self.positions is None:
            keys[..., self.longest] = k
            values[:, :, self.longest] = v
        else:
            keys.scatter_(3, self.positions.expand(n, kv_heads, head_dim, 1), k.unsqueeze(3))
            values.scatter_(2, self.positions.expand(n, kv_heads, 1, head_dim), v.unsqueeze(2))
        q = q.reshape(n * kv_heads, heads // kv_heads, head_dim)
        keys = keys.flatten(0, 1)[..., :length]
        scores = torch.bmm(q, keys) if self.mask is None else torch.baddbmm(self.mask, q, keys)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
        return torch.bmm(weights, values.flatten(0, 1)[:, :length]).view(n, heads, head_dim)


@dataclass(frozen=True, slots=True)
class Span:
    """`count` new tokens in a slot that already holds `start`."""

    slot: int
    start: int
    count: int


class ExtendAttention:
    """The new tokens of several spans, one span after the other, without padding."""

    def __init__(self, cache: KVCache, spans: Sequence[Span]) -> None:
        self.cache = cache
        self.spans = spans
        self.masks = [self._mask(span) for span in spans]

    def _mask(self, span: Span) -> Tensor | None:
        """[count, start + count] additive; None where plain causal attention says the same."""
        if span.start == 0:
            return None
        mask = self.cache.keys.new_full((span.count, span.start + span.count), -torch.inf)
        return mask.triu_(span.start + 1)

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        kv_heads = self.cache.kv_heads
        gqa = q.shape[1] != kv_heads
        out = torch.empty_like(q)
        first = 0
        for span, mask in zip(self.spans, self.masks, strict=True):
            rows, end = slice(first, first + span.count), span.start + span.count
            first += span.count
            new = kv[rows].transpose(0, 1)
            keys, values = self.cache.keys[layer, span.slot], self.cache.values[layer, span.slot]
            keys[..., span.start : end] = new[:kv_heads].transpose(1, 2)
            values[:, span.start : end] = new[kv_heads:]
            # contiguous: over transposed keys the fused kernel is not used, and what is takes 2 to 3 times as long
            k = new[:kv_heads] if mask is None else keys[..., :end].transpose(1, 2).contiguous()
            v = values[:, :end]
            if gqa and mask is not None and q.is_cuda:  # the fused kernel that takes a mask takes no groups
                k, v = (each.repeat_interleave(q.shape[1] // kv_heads, 0) for each in (k, v))
            attended = F.scaled_dot_product_attention(
                q[rows].transpose(0, 1)[None],
                k[None],
                v[None],
                attn_mask=mask,
                is_causal=mask is None,
                scale=1.0,
                enable_gqa=k.shape[0] != q.shape[1],
            )
            out[rows] = attended[0].transpose(0, 1)
        return out
