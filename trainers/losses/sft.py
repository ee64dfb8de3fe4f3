"""Supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from agentgym.trainers.base import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sft:
    """`-coef * logprob` of every trained token, whatever its advantage."""

    coef: float = 1.0
    needs_reference: ClassVar[bool] = False

    def __call__(self, tokens: TokenBatch) -> Tensor:
        return -tokens.logprobs

    def metrics(self, tokens: TokenBatch) -> dict[str, Tensor]:
        """nll: negative log-likelihood, in nats."""
        return {"nll": -tokens.logprobs.detach()}
