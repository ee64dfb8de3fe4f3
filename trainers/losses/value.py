"""What the critic should think."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from agentgym.ranges import above
from agentgym.trainers.base import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Value:
    """max((v - goal)^2, (v_clipped - goal)^2) / 2, where v_clipped is at most `clip` from what the critic thought
    before the update; None: unclipped. With PPO (arXiv 1707.06347); the credit step `gae` sets the goals.

    The critic is a head on the policy's own hidden states, so `coef` also says how much they serve it.
    """

    clip: float | None = 0.2
    coef: float = 0.5
    needs_reference: ClassVar[bool] = False
    trains_critic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        above(self, 0, "clip")

    def __call__(self, tokens: TokenBatch) -> Tensor:
        import torch

        if tokens.values is None or tokens.old_values is None or tokens.goals is None:
            raise ValueError("the value loss needs a critic, and this batch comes from a learner without one")
        loss = (tokens.values - tokens.goals) ** 2
        if self.clip is not None:
            clipped = tokens.old_values + (tokens.values - tokens.old_values).clamp(-self.clip, self.clip)
            loss = torch.maximum(loss, (clipped - tokens.goals) ** 2)
        return loss / 2

    def metrics(self, tokens: TokenBatch) -> dict[str, Tensor]:
        """value: what the critic thinks. value_error: its squared distance from what it should think."""
        assert tokens.values is not None
        assert tokens.goals is not None
        values = tokens.values.detach()
        return {"value": values, "value_error": (values - tokens.goals) ** 2}
