"""The state of a decode step: one row for each sequence being decoded, in the order of their slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentgym.engines.request import Request
from agentgym.engines.sampling import Shaping


@dataclass(slots=True)
class Rows:
    """ids, positions [n]: the token each row feeds next, and where it goes. longest: the largest position."""

    ids: Tensor
    positions: Tensor
    longest: int
    equal: bool
    shaping: Shaping | None

    @classmethod
    def of(cls, requests: Sequence[Request], device: torch.device) -> Rows:
        """The rows of `requests`, which are in the order of their slots."""
        positions = [len(request.ids) - 1 for request in requests]
        return cls(
            ids=torch.tensor([request.ids[-1] for request in requests], device=device),
            positions=torch.tensor(positions, device=device),
            longest=max(positions),
            equal=min(positions) == max(positions),
            shaping=Shaping.of([r.sampling for r in requests if r.sampling is not None], device),
        )

    def advance(self, ids: Tensor) -> None:
        """Every row got a token."""
        self.ids = ids
        self.positions = self.positions + 1
        self.longest += 1
