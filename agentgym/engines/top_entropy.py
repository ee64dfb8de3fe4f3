"""Entropy of a distribution of which only the likeliest tokens are told, in nats: between two bounds.

What is known is exact; the rest of the probability, the tail, adds least if it is all one token's, and most if all
tokens that were not told share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def lowest_entropy(logprobs: Sequence[float]) -> float:
    """If the tail were one token's. Never above the entropy, and equal to it where nothing is left."""
    return _told(logprobs) + _part(_tail(logprobs))


def highest_entropy(logprobs: Sequence[float], vocab_size: int) -> float:
    """If all other tokens of the vocabulary shared the tail. Never below the entropy."""
    others = vocab_size - len(logprobs)
    if others < 0:
        raise ValueError(f"{len(logprobs)} tokens of a vocabulary of {vocab_size}")
    return _told(logprobs) + (others * _part(_tail(logprobs) / others) if others else 0.0)


def _told(logprobs: Sequence[float]) -> float:
    return -math.fsum(math.exp(value) * value for value in logprobs if value > -math.inf)


def _tail(logprobs: Sequence[float]) -> float:
    return max(0.0, 1.0 - math.fsum(map(math.exp, logprobs)))


def _part(probability: float) -> float:
    return -probability * math.log(probability) if probability else 0.0
