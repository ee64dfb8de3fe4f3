"""pass@k and its interval, against enumeration and their definitions."""

from __future__ import annotations

from itertools import combinations

import pytest

from agentgym.trainers.metrics.pass_at_k import pass_at_k
from agentgym.trainers.metrics.wilson import wilson


@pytest.mark.parametrize("samples", [1, 4, 7])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(samples):
    for correct in range(samples + 1):
        results = [True] * correct + [False] * (samples - correct)
        for k in range(1, samples + 1):
            subsets = list(combinations(results, k))
            assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 2, 5), (4, 2, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_refuses_what_cannot_be(samples, correct, k):
    with pytest.raises(ValueError, match=r"must be in \["):
        pass_at_k(samples, correct, k)


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (5, 10), (37, 100), (99, 100)])
def test_wilson_ends_are_z_deviations_from_the_rate(successes, trials):
    for end in wilson(successes, trials, z=1.96):
        distance = abs(successes / trials - end)
        assert distance == pytest.approx(1.96 * (end * (1 - end) / trials) ** 0.5)


def test_wilson_at_the_edges():
    assert wilson(0, 10) == pytest.approx((0.0, 1.96**2 / (10 + 1.96**2)))
    assert wilson(10, 10) == pytest.approx((10 / (10 + 1.96**2), 1.0))
    low, high = wilson(50, 100)
    assert low < 0.5 < high
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)
