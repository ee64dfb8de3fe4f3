"""How the trained weights lie on the processes of a run, and what processes tell each other in an update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch.distributed as dist
from torch import Tensor

from agentgym.parallel import Peers
from agentgym.trainers.scorer import Scorer

Weights = Mapping[str, Tensor]
"""Those that are trained, by their names in the whole model."""


class Spread(Protocol):
    """Whole weights on each process (`Replicated`), or a part of each (`Sharded`)."""

    peers: Peers

    def trained(self, whole: Scorer) -> Scorer:
        """The module that learns; `whole` is what engines and checkpoints see."""
        ...

    def frozen(self, whole: Scorer) -> Scorer:
        """A copy without critic that does not learn, as a reference."""
        ...

    def masters(self, weights: Weights) -> dict[str, Tensor]:
        """What the optimiser steps: at full precision, and of each weight what this process keeps."""
        ...

    def clip(self, weights: Weights, masters: Weights, most: float) -> float:
        """The norm of the gradient over all processes. It is cut down to `most`, and given to the masters."""
        ...

    def publish(self, weights: Weights, masters: Weights, whole: Weights) -> None:
        """Bring stepped masters into the weights that learn and into the whole model's."""
        ...

    def part(self, weight: Tensor, full: Tensor) -> Tensor:
        """What this process keeps of something that has the weight's shape."""
        ...

    def full(self, weight: Tensor, part: Tensor) -> Tensor | None:
        """All of what is kept in parts; None on processes that do not write checkpoints."""
        ...

    def put(self, weight: Tensor, full: Tensor) -> None:
        """Set a weight of a module that `trained` or `frozen` has made."""
        ...

    def goes_on(self, more: bool) -> bool:
        """Whether this process computes one more micro-batch, `more` of its own or none."""
        ...


def summed(peers: Peers, numbers: Mapping[str, float]) -> dict[str, float]:
    """Each number's sum over the processes, in the same order everywhere."""
    if peers.size == 1:
        return dict(numbers)
    told: list[dict[str, float]] = [{}] * peers.size
    dist.all_gather_object(told, dict(numbers))
    return {
        name: sum(one.get(name, 0.0) for one in told) for name in dict.fromkeys(n for one in told for n in one)
    }


def together(peers: Peers, own: dict[int, Any]) -> dict[int, Any]:
    """What every process has found, by the same keys everywhere."""
    if peers.size == 1:
        return own
    told: list[dict[int, Any]] = [{}] * peers.size
    dist.all_gather_object(told, own)
    return {key: value for one in told for key, value in one.items()}
