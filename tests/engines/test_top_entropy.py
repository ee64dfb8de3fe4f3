"""The lower bound of an entropy from the likeliest tokens, against that of the whole vocabulary."""

from __future__ import annotations

import math
import random

import pytest

from agentgym.engines.top_entropy import lowest_entropy


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("size", [2, 50, 5000])
def test_it_rises_to_the_entropy_with_what_is_told(size: int, sharpness: float) -> None:
    rng = random.Random(size)
    weights = [math.exp(sharpness * rng.gauss(0, 1)) for _ in range(size)]
    logprobs = sorted((math.log(weight / math.fsum(weights)) for weight in weights), reverse=True)
    exact = -math.fsum(math.exp(value) * value for value in logprobs)
    before = -1.0
    for k in sorted({1, 2, min(20, size), size - 1, size}):
        low = lowest_entropy(logprobs[:k])
        assert before - 1e-9 <= low <= exact + 1e-9
        before = low
    assert low == pytest.approx(exact)


def test_it_is_met_where_the_tail_is_one_token() -> None:
    assert lowest_entropy([math.log(0.5)]) == pytest.approx(math.log(2))
    assert lowest_entropy([0.0, -math.inf]) == 0.0
