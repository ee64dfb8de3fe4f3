"""Attention over a packed forest by FlexAttention: one kernel over the row, which skips blocks off the paths.

Used on CUDA, where it is compiled; outputs and gradients equal the bucketed attention's there. On a CPU those of
the uncompiled kernel do, and the compiled one's outputs for a row of fixed length (torch 2.13 has no gradients for
it there, and its code for rows of any length does not compile).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from agentgym.trainers.pack import Pack


@cache
def compiled() -> Callable[..., Tensor]:
    """The fused kernel; compiled on its first call, and again for the second length of a row, as a dynamic one."""
    kernel: Callable[..., Tensor] = torch.compile(flex_attention)
    return kernel


class FlexPlan:
    """A pack's attention. segments, positions [T]: of each row. visible [S, S]: how far along the path the rows of
    one segment (the first index) see into another: positions below it; 0 where that is not on the path."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        lengths = [len(segment.ids) for segment in pack.segments]
        starts = torch.tensor([segment.position for segment in pack.segments])
        offsets = torch.tensor([segment.offset for segment in pack.segments])
        segments = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        positions = torch.arange(len(segments)) - offsets[segments] + starts[segments]
        self.segments, self.positions = segments.to(device), positions.to(device, torch.int32)
        self.visible = _visible(pack).to(device)
        self.masks: dict[int | None, BlockMask] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """See `Plan`."""
        kernel: Any = compiled() if query.is_cuda else flex_attention
        out: Tensor = kernel(
            query,
            key,
            value,
            block_mask=self.mask(window),
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return out.transpose(1, 2)

    def mask(self, window: int | None) -> BlockMask:
        """Which blocks of rows see each other; made once for a window."""
        if window not in self.masks:
            length = len(self.segments)
            make: Callable[..., BlockMask] = create_block_mask
            device = self.segments.device
            self.masks[window] = make(
                self._allowed(window), None, None, length, length, device, _compile=device.type == "cuda"
            )
        return self.masks[window]

    def _allowed(self, window: int | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        segments, positions, visible = self.segments, self.positions, self.visible

        def on_path(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            at = positions[key]
            return (at < visible[segments[query], segments[key]]) & (at <= positions[query])

        if window is None:
            return on_path
        reach = torch.tensor(window, dtype=torch.int32, device=positions.device)  # a number would be symbolic

        def near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return on_path(batch, head, query, key) & (positions[key] > positions[query] - reach)

        return near


def _visible(pack: Pack) -> Tensor:
    visible = torch.zeros(len(pack.segments), len(pack.segments), dtype=torch.int32)
    for index, segment in enumerate(pack.segments):
        visible[index, index] = segment.position + len(segment.ids)
        fork, parent = segment.position, segment.parent
        while parent is not None:  # it may go on after the fork
            visible[index, parent] = fork
            fork, parent = pack.segments[parent].position, pack.segments[parent].parent
    return visible
