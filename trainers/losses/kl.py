"""Distance from the frozen reference policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from agentgym.trainers.base import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Kl:
    """An estimate of KL(policy || reference) from sampled tokens, d = logprob - reference logprob.

    estimator: of values, k1 = d and k3 = exp(-d) - 1 + d are unbiased, k2 = d^2 / 2 is not; of gradients, in
    expectation over tokens the policy itself sampled: k2's is that of the reverse KL(policy || reference),
    exactly; k3's is that of the forward KL(reference || policy); k1's is 0. coef: what it is multiplied by.
    """

    estimator: Literal["k1", "k2", "k3"] = "k3"
    coef: float = 0.001
    needs_reference: ClassVar[bool] = True

    def __call__(self, tokens: TokenBatch) -> Tensor:
        if tokens.ref_logprobs is None:
            raise ValueError("the kl loss needs ref_logprobs, and this batch has none")
        d = tokens.logprobs - tokens.ref_logprobs
        if self.estimator == "k1":
            return d
        if self.estimator == "k2":
            return d**2 / 2
        return (-d).exp() - 1 + d

    def metrics(self, tokens: TokenBatch) -> dict[str, Tensor]:
        """kl: the estimate."""
        return {"kl": self(tokens).detach()}
