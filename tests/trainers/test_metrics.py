"""pass@k and its interval, against enumeration and their definitions."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from agentgym.trainers.metrics.design_effect import effective_trials
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


def covered(
    alike: float, samples: int, tasks: int = 100, rate: float = 0.8, rounds: int = 2000
) -> tuple[float, float]:
    """How often the interval holds the mean rate of tasks, and how often one does that takes all samples as
    independent. alike: the correlation of two samples of a task; the rates of tasks are drawn from a beta."""
    chance, held = random.Random(0), [0, 0]
    spread = 1 / alike - 1
    for _ in range(rounds):
        counts = []
        for _ in range(tasks):
            own = chance.betavariate(rate * spread, (1 - rate) * spread)
            counts.append((samples, sum(chance.random() < own for _ in range(samples))))
        trials, success = tasks * samples, sum(c for _, c in counts) / (tasks * samples)
        for which, independent in enumerate((effective_trials(counts), trials)):
            low, high = wilson(success * independent, independent)
            held[which] += low <= rate <= high
    return held[0] / rounds, held[1] / rounds


@pytest.mark.parametrize("alike", [0.01, 0.3, 0.9])
def test_the_interval_holds_the_rate_however_alike_the_samples_of_a_task_are(alike):
    clustered, naive = covered(alike, samples=4)
    assert 0.93 <= clustered <= 0.97
    if alike > 0.1:
        assert naive < 0.9


@pytest.mark.parametrize(
    ("counts", "trials"),
    [
        ([(1, 1), (1, 0), (1, 1)], 3),  # one sample each: independent
        ([(4, 4), (4, 0), (4, 4)], 3),  # as many as tasks where samples tell nothing new
        ([(4, 4), (4, 4)], 2),  # all right: no telling
        ([(4, 2), (4, 2)], 8),
        ([(8, 3)], 8),
    ],
)
def test_what_several_samples_of_a_task_are_worth(counts, trials):
    assert effective_trials(counts) == pytest.approx(trials)
