"""How far what was sampled is from the weights that learn from it: by age, and by the sampler's numbers."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from agentgym.trainers.base import Scored

MUCH = 0.01
"""Divergence in nats a token that no rounding explains."""

log = logging.getLogger("agentgym")


def staleness(batch: Sequence[Scored], version: int) -> dict[str, float]:
    """Updates between sampling and learning, of the learned tokens that were sampled: mean and most."""
    ages = [
        version - sampled
        for scored in batch
        for turn in scored.turns
        if turn.agent not in scored.frozen
        for sampled in turn.action.versions or ()
    ]
    return {"staleness": fmean(ages), "staleness_max": max(ages)} if ages else {}


def divergence(batch: Sequence[Scored]) -> dict[str, float]:
    """sampler_kl: from the sampler to the weights that the update begins with (k3, nats a token), of trajectories
    whose logprobs were recomputed."""
    drift = [value for scored in batch if scored.proximal is not None for value in scored.drift()]
    return {"sampler_kl": fmean(math.expm1(value) - value for value in drift)} if drift else {}


def warn(metrics: dict[str, Any], dtypes: tuple[str, str]) -> bool:
    """Say so where sampler and learner are far apart, and why that may be; whether there was anything to say.
    dtypes: the learner's and the engine's."""
    kl, stale = metrics.get("sampler_kl", 0.0), metrics.get("staleness_max", 0)
    if kl <= MUCH:
        return False
    if stale:
        cause = f"its tokens are up to {stale} updates old; a lower max_staleness or lr brings them together"
    elif dtypes[0] != dtypes[1]:
        cause = f"the engine computes in {dtypes[1]} and the learner in {dtypes[0]}; give both the same dtype"
    else:
        cause = (
            "`agentgym check engine=NAME model=...` tells whether the engine has the learner's weights and numbers"
        )
    log.warning(
        "what was sampled differs from the policy that learns by a KL of %.3g nats a token: %s. The credit step "
        "truncated_importance corrects for it",
        kl,
        cause,
    )
    return True
