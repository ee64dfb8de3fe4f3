"""Every process has all weights: data parallelism for models that fit a GPU with their optimiser."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from agentgym.parallel import ALONE, Peers
from agentgym.trainers.scorer import Scorer
from agentgym.trainers.spread import Weights

BUCKET = 1 << 24
"""Numbers that are summed over the processes at a time."""


class Replicated:
    """Every process has all weights; gradients are summed when all micro-batches are done. Those of narrow weights
    add up in float32, as sums of many small numbers in bfloat16 stop to grow."""

    def __init__(self, peers: Peers = ALONE) -> None:
        self.peers = peers

    def trained(self, whole: Scorer) -> Scorer:
        """The very model."""
        return whole

    def frozen(self, whole: Scorer) -> Scorer:
        """A copy of what learns; of a model with adapters the rest is shared."""
        shared = {id(p): p for p in whole.model.parameters() if not p.requires_grad}
        return Scorer(copy.deepcopy(whole.model, shared).requires_grad_(False).eval())

    def masters(self, weights: Weights) -> dict[str, Tensor]:
        """Small steps vanish in bfloat16, so narrow weights get a float32 copy, and that is stepped."""
        return {n: p if p.dtype.itemsize >= 4 else _master(p) for n, p in weights.items()}

    def clip(self, weights: Weights, masters: Weights, most: float) -> float:
        if self.peers.size > 1:
            sum_gradients(list(masters.values()))
        return float(nn.utils.clip_grad_norm_(masters.values(), most))

    def publish(self, weights: Weights, masters: Weights, whole: Weights) -> None:
        for name, weight in weights.items():
            if masters[name] is not weight:
                weight.copy_(masters[name])

    def part(self, weight: Tensor, full: Tensor) -> Tensor:
        return full

    def full(self, weight: Tensor, part: Tensor) -> Tensor | None:
        return part

    def put(self, weight: Tensor, full: Tensor) -> None:
        weight.copy_(full)

    def goes_on(self, more: bool) -> bool:
        return more


def _master(narrow: Any) -> Tensor:
    """A copy in float32, which takes the weight's gradients over as soon as they are known."""
    master: Tensor = narrow.detach().float()

    def take(weight: Tensor) -> None:
        assert weight.grad is not None
        wide = weight.grad.float()
        master.grad = wide if master.grad is None else master.grad.add_(wide)
        weight.grad = None

    narrow.register_post_accumulate_grad_hook(take)
    return master


def sum_gradients(weights: Sequence[Tensor]) -> None:
    """Over the processes. A weight without a gradient on any process has none afterwards."""
    device = weights[0].device
    there = torch.tensor([float(weight.grad is not None) for weight in weights], device=device)
    dist.all_reduce(there)
    grads: list[Tensor] = []
    for weight, known in zip(weights, there.tolist(), strict=True):
        if known:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            grads.append(weight.grad)
    for bucket in _buckets(grads):
        flat = torch.cat([grad.flatten() for grad in bucket])
        dist.all_reduce(flat)
        for grad, total in zip(bucket, torch.split(flat, [grad.numel() for grad in bucket]), strict=True):
            grad.copy_(total.view_as(grad))


def _buckets(grads: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Of one dtype each."""
    bucket: list[Tensor] = []
    for grad in grads:
        full = sum(map(Tensor.numel, bucket)) + grad.numel() > BUCKET
        if bucket and (full or grad.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(grad)
    if bucket:
        yield bucket
