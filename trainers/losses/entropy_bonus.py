"""A reward for staying uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from agentgym.trainers.base import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EntropyBonus:
    """-entropy (nats) of the distribution each token was drawn from; a positive `coef` favours exploring."""

    coef: float = 0.001
    needs_reference: ClassVar[bool] = False

    def __call__(self, tokens: TokenBatch) -> Tensor:
        return -tokens.entropy

    def metrics(self, tokens: TokenBatch) -> dict[str, Tensor]:
        """entropy, in nats."""
        return {"entropy": tokens.entropy.detach()}
