"""Keys and values of many sequences, one slot each."""

from __future__ import annotations

import torch
from torch import Tensor


class KVCache:
    """keys [layers, slots, kv_heads, head_dim, length] (so that q @ keys reads along the length), values
    [layers, slots, kv_heads, length, head_dim]. Both grow by doubling."""

    def __init__(
        self, layers: int, kv_heads: int, head_dim: int, *, max_slots: int, max_len: int, like: Tensor
    ) -> None:
        self.kv_heads = kv_heads
        self.max_slots, self.max_len = max_slots, max_len
        self.keys = like.new_zeros(layers, 0, kv_heads, head_dim, 0)
        self.values = like.new_zeros(layers, 0, kv_heads, 0, head_dim)

    @property
    def slots(self) -> int:
        """Slots allocated so far."""
        return self.keys.shape[1]

    @property
    def length(self) -> int:
        """Tokens that fit into each slot so far."""
        return self.keys.shape[4]

    @torch.inference_mode()
    def reserve(self, slots: int, length: int) -> None:
        """Make room for `slots` sequences of `length` tokens. New room is zero: masked scores still
        multiply it, and a NaN there would spread."""
        if slots <= self.slots and length <= self.length:
            return
        old_slots, old_length = self.slots, self.length
        slots = min(max(slots, 2 * old_slots), self.max_slots) if slots > old_slots else old_slots
        length = min(max(length, 2 * old_length, 256), self.max_len) if length > old_length else old_length
        layers, _, heads, head_dim, _ = self.keys.shape
        keys = self.keys.new_zeros(layers, slots, heads, head_dim, length)
        keys[:, :old_slots, :, :, :old_length] = self.keys
        self.keys = keys
        values = self.values.new_zeros(layers, slots, heads, length, head_dim)
        values[:, :old_slots, :, :old_length] = self.values
        self.values = values

    @torch.inference_mode()
    def copy(self, source: int, target: int, length: int) -> None:
        """The first `length` tokens of one slot into another."""
        self.keys[:, target, :, :, :length] = self.keys[:, source, :, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]

    @torch.inference_mode()
    def swap(self, a: int, b: int, length: int) -> None:
        """Exchange the first `length` tokens of two slots."""
        for tensor in (self.keys[..., :length], self.values[:, :, :, :length]):
            kept = tensor[:, a].clone()
            tensor[:, a] = tensor[:, b]
            tensor[:, b] = kept
