"""How trajectories become the rows of a forward pass: what every layout gives the learner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from agentgym.trainers.base import Scored
from agentgym.trainers.pack import Pack


@dataclass(slots=True)
class Inputs:
    """A pack as tensors.

    ids [B, T]. context: the decoder's other arguments, which say where tokens stand and what they attend to.
    previous, targets [U]: for each trained token, its predecessor's place in the flattened ids, and its own id.
    entries [M]: which of them an entry of the loss is, for a shared token has an entry for each trajectory.
    old_logprobs, advantages, weights, old_values, goals [M].
    """

    ids: Tensor
    context: dict[str, Any]
    previous: Tensor
    targets: Tensor
    entries: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    weights: Tensor
    old_values: Tensor
    goals: Tensor


class Layout(Protocol):
    """Cuts a batch into packs, and lays a pack out for the model it was made for."""

    def packs(self, batch: Sequence[Scored], weights: Sequence[float], max_tokens: int) -> Iterator[Pack]:
        """Packs of at most `max_tokens` tokens (or one trajectory); trajectories of weight 0 are left out."""
        ...

    def inputs(self, pack: Pack, dtype: torch.dtype) -> Inputs:
        """`dtype`: of the numbers that the loss is made of."""
        ...


def make_inputs(pack: Pack, ids: Tensor, context: dict[str, Any], dtype: torch.dtype) -> Inputs:
    """The inputs of a pack whose segments stand at their offsets in the flattened `ids`."""
    device = ids.device
    places: dict[tuple[int, int], int] = {}
    entries = [places.setdefault((e.segment, e.index), len(places)) for e in pack.entries]
    rows = [(e.old_logprob, e.advantage, e.weight, e.value, e.goal) for e in pack.entries]
    floats = torch.tensor(rows, dtype=dtype).to(device).unbind(1)
    return Inputs(
        ids,
        context,
        torch.tensor([_previous(pack, segment, index) for segment, index in places], device=device),
        torch.tensor([pack.segments[segment].ids[index] for segment, index in places], device=device),
        torch.tensor(entries, device=device),
        *floats,
    )


def _previous(pack: Pack, segment: int, index: int) -> int:
    """Place of the token before `index` along the path."""
    here = pack.segments[segment]
    if index > 0:
        return here.offset + index - 1
    assert here.parent is not None, "a prompt's first token is never trained"
    above = pack.segments[here.parent]
    return above.offset + here.position - above.position - 1
