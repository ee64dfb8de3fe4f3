"""Every process keeps a part of each weight: FSDP2, for models that do not fit a GPU with their optimiser."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from agentgym.parallel import Peers
from agentgym.trainers.scorer import Scorer
from agentgym.trainers.spread import Weights


class Sharded:
    """Parts of weights, gradients and the optimiser's state (arXiv 2304.11277) at full precision; layers are
    gathered one at a time while they compute, in the model's own dtype. Beside them each process has the whole
    model, without gradients, which its engine and checkpoints take."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    def trained(self, whole: Scorer) -> Scorer:
        first = next(whole.parameters())
        twin: Scorer = copy.deepcopy(whole, {id(p): _hollow(p) for p in whole.parameters()})
        names = set(getattr(whole.model, "_no_split_modules", None) or ())
        layers = [module for module in twin.modules() if type(module).__name__ in names]
        mesh = init_device_mesh(first.device.type, (self.peers.size,))
        mixed = MixedPrecisionPolicy(param_dtype=first.dtype, reduce_dtype=torch.float32)
        policy = mixed if first.dtype.itemsize < 4 else MixedPrecisionPolicy()
        heads = [] if twin.critic is None else [twin.critic]
        for module in (*layers, *heads, twin):
            exact = MixedPrecisionPolicy() if module is twin.critic else policy
            # Gathered again in the backward pass, so that nothing from before a step is left to compute with.
            sharded: Any = fully_shard(module, mesh=mesh, mp_policy=exact, reshard_after_forward=True)
            sharded.set_force_sum_reduction_for_comms(True)
            sharded.set_gradient_divide_factor(1.0)  # a sum: the tokens' weights are those of the whole batch
        twin.to_empty(device=first.device)
        with torch.no_grad():
            for buffer, own in zip(twin.buffers(), whole.buffers(), strict=True):
                buffer.copy_(own)  # `to_empty` has emptied them, too
            for weight, full in zip(twin.parameters(), whole.parameters(), strict=True):
                self.put(weight, full)
        return twin

    def frozen(self, whole: Scorer) -> Scorer:
        return self.trained(Scorer(whole.model)).requires_grad_(False).eval()

    def masters(self, weights: Weights) -> dict[str, Tensor]:
        """The parts themselves, which are wide already."""
        return {name: _local(weight) for name, weight in weights.items()}

    def clip(self, weights: Weights, masters: Weights, most: float) -> float:
        norm: Any = nn.utils.clip_grad_norm_(weights.values(), most)
        for name, weight in weights.items():
            masters[name].grad = None if weight.grad is None else _local(weight.grad)
        return float(norm.full_tensor())

    def publish(self, weights: Weights, masters: Weights, whole: Weights) -> None:
        for name, weight in weights.items():
            sharded: Any = weight
            whole[name].copy_(sharded.full_tensor())

    def part(self, weight: Tensor, full: Tensor) -> Tensor:
        sharded: Any = weight
        there = full.to(_local(weight).device)
        return distribute_tensor(there, sharded.device_mesh, sharded.placements, src_data_rank=None).to_local()

    def full(self, weight: Tensor, part: Tensor) -> Tensor | None:
        like: Any = weight
        form = {"shape": like.shape, "stride": like.stride()}
        whole = DTensor.from_local(part, like.device_mesh, like.placements, run_check=False, **form).full_tensor()
        return whole.cpu() if self.peers.first else None

    def put(self, weight: Tensor, full: Tensor) -> None:
        _local(weight).copy_(self.part(weight, full.detach()))

    def goes_on(self, more: bool) -> bool:
        """As long as any has more, for all gather layers together."""
        any_has = torch.tensor(int(more))
        dist.all_reduce(any_has, dist.ReduceOp.MAX)
        return bool(any_has)


def _local(sharded: Any) -> Tensor:
    part: Tensor = sharded.to_local().detach()
    return part


def _hollow(weight: Tensor) -> nn.Parameter:
    """At full precision, without numbers."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return nn.Parameter(torch.empty(weight.shape, dtype=dtype, device="meta"), requires_grad=weight.requires_grad)
