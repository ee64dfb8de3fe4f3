"""Bounds of an entropy from the likeliest tokens, against that of the whole vocabulary."""

from __future__ import annotations

import math
import random

import pytest

from agentgym.engines.top_entropy import highest_entropy, lowest_entropy


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("size", [2, 50, 5000])
def test_the_entropy_lies_between_the_bounds(size: int, sharpness: float) -> None:
    rng = random.Random(size)
    weights = [math.exp(sharpness * rng.gauss(0, 1)) for _ in range(size)]
    logprobs = sorted((math.log(weight / math.fsum(weights)) for weight in weights), reverse=True)
    exact = -math.fsum(math.exp(value) * value for value in logprobs)
    low_before, high_before = -1.0, math.inf
    for k in sorted({1, 2, min(20, size), size - 1, size}):
        low, high = lowest_entropy(logprobs[:k]), highest_entropy(logprobs[:k], size)
        assert low - 1e-9 <= exact <= high + 1e-9
        assert low_before - 1e-9 <= low <= high + 1e-9 <= high_before + 2e-9
        low_before, high_before = low, high
    assert low == pytest.approx(exact)
    assert high == pytest.approx(exact)


def test_the_bounds_are_met() -> None:
    told = [math.log(0.5)]
    assert lowest_entropy(told) == pytest.approx(math.log(2))  # the tail is one token
    assert highest_entropy(told, 5) == pytest.approx(0.5 * math.log(2) + 4 * 0.125 * math.log(8))
    assert lowest_entropy([0.0, -math.inf]) == highest_entropy([0.0, -math.inf], 9) == 0.0
    with pytest.raises(ValueError, match="2 tokens of a vocabulary of 1"):
        highest_entropy([-1.0, -1.0], 1)
