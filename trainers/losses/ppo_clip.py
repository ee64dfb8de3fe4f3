"""PPO's clipped policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from agentgym.ranges import above, at_least, within
from agentgym.trainers.base import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PpoClip:
    """-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) with r = exp(logprob - old logprob).

    PPO, arXiv 1707.06347; a larger clip_high is DAPO's clip-higher (arXiv 2503.14476). dual_clip c > 1 bounds
    the loss of a negative advantage at -c A (arXiv 1912.09729), so that r > c has no gradient; None: unbounded.
    keep_high: a good token above 1 + clip_high keeps that value, and the gradient of (1 + clip_high) logprob A
    instead of none, so that the tokens which explore still learn (AEPO, arXiv 2510.14545). coef: what the loss is
    multiplied by.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    keep_high: bool = False
    coef: float = 1.0
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        within(self, 0, 1, "clip_low")
        at_least(self, 0, "clip_high")
        above(self, 1, "dual_clip")

    def __call__(self, tokens: TokenBatch) -> Tensor:
        import torch

        ratio = (tokens.logprobs - tokens.old_logprobs).exp()
        advantages = tokens.advantages
        high = 1 + self.clip_high
        clipped = ratio.clamp(1 - self.clip_low, high)
        if self.keep_high:
            clipped = torch.where(ratio > high, high * ratio / ratio.detach(), clipped)
        loss = -torch.minimum(ratio * advantages, clipped * advantages)
        if self.dual_clip is not None:
            bounded = torch.minimum(loss, -self.dual_clip * advantages)
            loss = torch.where(advantages < 0, bounded, loss)
        return loss

    def metrics(self, tokens: TokenBatch) -> dict[str, Tensor]:
        """clip_frac: 1 where a clip is at work. approx_kl: k3 of new against old."""
        log_ratio = (tokens.logprobs - tokens.old_logprobs).detach()
        ratio = log_ratio.exp()
        clipped = self(tokens).detach() != -ratio * tokens.advantages
        return {"clip_frac": clipped.to(ratio), "ratio_mean": ratio, "approx_kl": ratio - 1 - log_ratio}
