"""Entropy of a distribution of which only the likeliest tokens are told, in nats: a lower bound.

What is known is exact; the rest of the probability, the tail, adds least if it is all one token's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def lowest_entropy(logprobs: Sequence[float]) -> float:
    """If the tail were one token's. Never above the entropy, and equal to it where nothing is left."""
    return _told(logprobs) + _part(_tail(logprobs))


def _told(logprobs: Sequence[float]) -> float:
    return -math.fsum(math.exp(value) * value for value in logprobs if value > -math.inf)


def _tail(logprobs: Sequence[float]) -> float:
    return max(0.0, 1.0 - math.fsum(map(math.exp, logprobs)))


def _part(probability: float) -> float:
    return -probability * math.log(probability) if probability else 0.0
