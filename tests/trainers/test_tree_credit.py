"""Credit that knows about trees, worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import sqrt, tanh
from statistics import fmean, stdev

import pytest

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.trainers.base import Scored
from agentgym.types import Group, Outcome, Task, Tokens, Turn


def tree(parents: Sequence[int | None], rewards: Sequence[float] = (), name: str = "g") -> list[Scored]:
    """One group with these parents; rewards in the order of its leaves."""
    group = Group(name, Task("t", "p", "a"))
    for parent in parents:
        group.turns.append(Turn(parent, Tokens((1,)), Tokens((2,)), outcome=Outcome.DONE))
    batch = [Scored(group, leaf) for leaf in group.leaves()]
    for scored, reward in zip(batch, rewards, strict=False):
        scored.reward = reward
    return batch


def test_a_shared_turn_has_the_mean_advantage_of_its_trajectories() -> None:
    batch = tree([None, 0, 1, 1, 0])  # its paths: 0-1-2, 0-1-3 and 0-4
    for scored, advantage in zip(batch, (1.0, -2.0, 4.0), strict=True):
        scored.advantage = advantage
    build("credit", "shared_prefix")(batch)
    assert [s.turn_advantages for s in batch] == [[1.0, -0.5, 1.0], [1.0, -0.5, -2.0], [1.0, 4.0]]


def test_what_is_not_trained_has_no_say_in_what_others_share() -> None:
    batch = tree([None, 0, 0, 0])
    for scored, advantage, weight in zip(batch, (1.0, 4.0, 100.0), (2.0, 1.0, 0.0), strict=True):
        scored.advantage, scored.weight = advantage, weight
    build("credit", "shared_prefix")(batch[:2])  # the third failed, say: it is not in the batch
    assert [s.turn_advantages for s in batch[:2]] == [[2.0, 1.0], [2.0, 4.0]]
    build("credit", "shared_prefix")(batch)  # the mean of means is what it was
    assert [s.turn_advantages for s in batch[:2]] == [[2.0, 1.0], [2.0, 4.0]]


def test_turns_of_two_groups_are_not_shared() -> None:
    batch = tree([None], name="a") + tree([None], name="b")
    batch[0].advantage, batch[1].advantage = 1.0, 3.0
    build("credit", "shared_prefix")(batch)
    assert [s.turn_advantages for s in batch] == [[1.0], [3.0]]


FOUR = [None, 0, 0, 0, None]  # a tree of three leaves and one that did not fork


def test_a_tree_counts_once_however_many_leaves_it_has() -> None:
    # 4 trajectories, 2 trees: 4 / (2 * 3) = 2/3 each, and 4 / (2 * 1) = 2.
    batch = build("credit", "tree_weight")(tree(FOUR))
    assert [s.weight for s in batch] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])
    batch = build("credit", "tree_weight")(tree([None] * 3))
    assert [s.weight for s in batch] == [1.0, 1.0, 1.0]


def test_weights_in_means_and_deviations() -> None:
    # Rewards 1, 1, 0 in one tree, 0 in the other. Mean (2/3 + 2/3) / 4 = 1/3. Freedom 4 - (3 * 4/9 + 4) / 4 = 8/3.
    # Squares 2/3 * (4/9 + 4/9 + 1/9) + 2 * 1/9 = 8/9, so the variance is 1/3: A = (2/3 or -1/3) * sqrt(3).
    batch = tree(FOUR, [1.0, 1.0, 0.0, 0.0])
    for step in ("tree_weight", {"name": "group_relative", "eps": 0.0}):
        batch = build("credit", step)(batch)
    high, low = 2 / 3 * sqrt(3), -1 / 3 * sqrt(3)
    assert [s.advantage for s in batch] == pytest.approx([high, high, low, low])
    assert sum(s.weight * s.advantage for s in batch) == pytest.approx(0.0)


def test_a_weight_of_0_is_as_if_it_were_not_there() -> None:
    step = build("credit", "group_relative")
    batch, without = tree([None] * 4, [0.0, 1.0, 0.5, 9.0]), tree([None] * 3, [0.0, 1.0, 0.5])
    batch[3].weight = 0.0
    assert [s.advantage for s in step(batch)[:3]] == [s.advantage for s in step(without)]
    for scored in batch:
        scored.weight = 0.0
    assert [s.advantage for s in step(batch)] == [0.0] * 4


def test_without_weights_not_a_bit_changes() -> None:
    rng = random.Random(0)
    for _ in range(200):
        rewards = [rng.gauss(0, 1) for _ in range(7)]
        batch = build("credit", "group_relative")(tree([None] * 7, rewards))
        mean, deviation = fmean(rewards), stdev(rewards)
        assert [s.advantage for s in batch] == [(r - mean) / (deviation + 1e-6) for r in rewards]


def test_values_of_nodes() -> None:
    # Terminal values 1, -1 and 0.6 have the mean 0.2.
    batch = tree([None, 0, 0, None])
    values = (0.5, 1.0, -1.0, 0.6)
    for turn, value in zip(batch[0].group.turns, values, strict=True):
        turn.info["value"] = value
    build("credit", "node_value")(batch)
    root = tanh(0.5) - 0.2
    expected = [[root, tanh(1) - 0.2], [root, tanh(-1) - 0.2], [tanh(0.6) - 0.2]]
    assert [s.turn_advantages for s in batch] == [pytest.approx(turns) for turns in expected]
    build("credit", {"name": "node_value", "q_max": 2.0})(batch)
    assert batch[0].turn_advantages == pytest.approx([2 * tanh(0.25) - 0.2, 2 * tanh(0.5) - 0.2])


def test_a_turn_without_a_value_is_named() -> None:
    batch = tree([None, 0])
    batch[0].group.turns[1].info["value"] = 1.0
    with pytest.raises(ConfigError, match=r"turn 0 of task 't' has no info\['value'\]"):
        build("credit", "node_value")(batch)


def test_as_many_turn_advantages_as_turns() -> None:
    (scored,) = tree([None, 0])
    scored.turn_advantages = [1.0]
    with pytest.raises(ValueError, match="2 turns but 1 turn_advantages"):
        build("credit", "shared_prefix")([scored])
