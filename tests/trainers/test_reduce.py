"""Weights of tokens on ragged sequences, against the averages they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from agentgym.trainers.reduce import token_weights

LOSSES = [[1.0], [2.0, 4.0, 6.0, 8.0], [3.0, 5.0]]  # means 1, 5, 4; sums 1, 20, 8


def reduced(reduction, weights=(1, 1, 1), losses=LOSSES, constant_length=None) -> float:
    per_sequence = token_weights([len(row) for row in losses], list(weights), reduction, constant_length)
    return sum(weight * sum(row) for weight, row in zip(per_sequence, losses, strict=True))


def test_token_mean_counts_tokens_alike():
    assert reduced("token_mean") == pytest.approx(29 / 7)


def test_sequence_mean_counts_sequences_alike():
    assert reduced("sequence_mean") == pytest.approx((1 + 5 + 4) / 3)


def test_constant_divides_sums_by_a_fixed_length():
    assert reduced("constant", constant_length=10) == pytest.approx((1 + 20 + 8) / 3 / 10)


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "constant"])
def test_weight_0_is_as_if_it_were_not_there_and_weights_are_relative(reduction):
    without = reduced(reduction, [1, 1], LOSSES[1:], 10)
    assert reduced(reduction, [0, 1, 1], constant_length=10) == pytest.approx(without)
    assert reduced(reduction, [0, 0.5, 0.5], constant_length=10) == pytest.approx(without)
    assert reduced(reduction, [1, 1, 1], [[], *LOSSES[1:]], 10) == pytest.approx(without)


@pytest.mark.parametrize(
    ("reduction", "mean"), [("token_mean", 38 / 10), ("sequence_mean", (1 + 1 + 5 + 4 + 4) / 5)]
)
def test_a_weight_of_2_is_a_sequence_seen_twice(reduction, mean):
    assert reduced(reduction, [2, 1, 2]) == pytest.approx(mean)


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "constant"])
def test_micro_batches_add_up_to_the_whole(reduction):
    """Weights are fixed over the global batch, so any cut gives the same sum; means of means would not."""
    weights = token_weights([1, 4, 2], [1, 1, 1], reduction, 10)
    parts = [weights[0] * 1, weights[1] * 20 + weights[2] * 8]
    assert sum(parts) == pytest.approx(reduced(reduction, constant_length=10))
    means_of_means = np.mean([reduced("token_mean", [1], LOSSES[:1]), reduced("token_mean", [1, 1], LOSSES[1:])])
    assert means_of_means != pytest.approx(reduced("token_mean"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([3, 2], [0, 0], "token_mean"), "nothing to average: no sequence out of 2"),
        (([], [], "sequence_mean"), "nothing to average"),
        (([3, 2], [1], "token_mean"), "2 lengths but 1 weights"),
        (([3], [1], "constant"), "constant_length"),
    ],
)
def test_errors_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        token_weights(*arguments)
