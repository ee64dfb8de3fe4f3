"""REX-RAG's policy correction: trajectories count as often as the policy itself would have sampled them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentgym.ranges import within
from agentgym.trainers.base import Scored

Mark = Mapping[str, Any]


@dataclass(frozen=True)
class MixtureCorrection:
    """Multiplies the weight of a trajectory by policy density / density of what was played (REX-RAG, arXiv
    2508.08149). Comes first, for the steps that average use the weights. Played by rollout `rex_rag`.

    What is played: n trajectories of the policy, and probes. With alpha the share of probes, the density of a
    trajectory is q = (1 - alpha) pi + alpha mu. mu is that of a probe which reads the same, summed over the places
    where a doubt stands: pi(before) * reach / e * frequency * pi(after); e is how often the policy is wrong, reach
    how often it is wrong right there. Probes follow wrong trajectories with some probability, so that
    alpha / (1 - alpha) = e * probability, and e cancels:

        weight = (1 - alpha) pi / q = 1 / (1 + sum over places of rate * reach / pi(doubt))

    with rate = probability * frequency. The policy's own trajectories are discounted as probes are, where they
    doubt by themselves. So the sum of weight * f over what was played has n times the expectation of f under the
    policy, for any f, however many probes there happen to be. (The losses' reductions divide by the sum of the
    weights, whose expectation is n.)

    The published code corrects token by token instead: the old probability of each token becomes a mixture, with
    1 / e spread over the prefix as e^(-1/j), and reach left out. A product of mixtures is not the mixture of
    products, so that form is biased whatever mu is; this one is exact if reach is. rex_rag reports a lower bound
    of reach, exact once the group has given every wrong answer that has weight.

    cap: at most this share of n is kept of the probes, those whose doubts are likeliest by mean log-probability;
    the others get weight 0, and what falls below the last one kept does not count as a place. The paper's cap is
    the lower of 0.08 and a moving average of the share of errors, which probes cannot exceed here. The threshold
    is the batch's own, so exactness is for batches large enough that one trajectory does not move it.
    """

    cap: float = 0.08

    def __post_init__(self) -> None:
        within(self, 0, 1, "cap")

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        probes = [mark for scored in batch for mark in _marks(scored) if mark["inserted"]]
        kept = int(self.cap * (len(batch) - len(probes)))
        least = -math.inf
        if kept < len(probes):
            likeliest = sorted(map(_likelihood, probes), reverse=True)
            least = likeliest[kept - 1] if kept else math.inf
        for scored in batch:
            marks = list(_marks(scored))
            if any(mark["inserted"] and _likelihood(mark) < least for mark in marks):
                scored.weight = 0.0
            scored.weight /= 1.0 + math.fsum(_excess(mark) for mark in marks if _likelihood(mark) >= least)
        return batch


def _marks(scored: Scored) -> Iterable[Mark]:
    return (mark for turn in scored.turns for mark in turn.info.get("doubts", ()))


def _likelihood(mark: Mark) -> float:
    """Mean log-probability of the doubt's tokens."""
    return float(mark["logprob"] / mark["tokens"])


def _excess(mark: Mark) -> float:
    """How many probes put the doubt here, for each time that the policy says it."""
    return float(
        mark["rate"] * mark["reach"] * math.exp(min(-mark["logprob"], 700.0))
    )  # beyond it is all the same
