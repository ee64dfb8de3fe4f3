"""Baselines and normalisers, and who counts as a group."""

from __future__ import annotations

import math
import random
from itertools import product

import numpy as np
import pytest

from agentgym.config import build
from agentgym.types import Group

REWARDS = {"a": [1.0, 0.0, 0.0, 0.5], "b": [0.25, 0.75], "c": [2.0, -1.0, 0.125]}


@pytest.mark.parametrize(("mean", "std"), list(product(["group", "batch", "none"], repeat=2)))
def test_group_relative_in_every_scope(rewarded, mean, std):
    groups = [rewarded(name, rewards) for name, rewards in REWARDS.items()]
    batch = [scored for members in groups for scored in members]
    build("credit", {"name": "group_relative", "mean": mean, "std": std, "eps": 0.01})(batch)
    everything = np.concatenate(list(REWARDS.values()))
    for members, rewards in zip(groups, REWARDS.values(), strict=True):
        scope = {"group": np.array(rewards), "batch": everything}
        centred = np.array(rewards) - (0 if mean == "none" else scope[mean].mean())
        expected = centred if std == "none" else centred / (scope[std].std(ddof=1) + 0.01)
        assert [s.advantage for s in members] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("credit", ["group_relative", {"name": "group_relative", "std": "none"}, "leave_one_out"])
@pytest.mark.parametrize("rewards", [[0.7], [0.1, 0.1, 0.1]])
def test_nothing_to_compare_gives_no_advantage(rewarded, credit, rewards):
    batch = build("credit", credit)(rewarded("g", rewards) + rewarded("other", [0.0, 1.0]))
    assert [s.advantage for s in batch[: len(rewards)]] == pytest.approx([0.0] * len(rewards), abs=1e-12)
    assert batch[-1].advantage > 0.1


@pytest.mark.parametrize("mean", ["batch", "none"])
def test_a_group_without_spread_is_not_blown_up_by_eps(rewarded, mean):
    batch = rewarded("g", [0.5, 0.5]) + rewarded("other", [0.0, 1.0])
    build("credit", {"name": "group_relative", "mean": mean, "std": "group"})(batch)
    assert [s.advantage for s in batch[:2]] == [0.0, 0.0]


def test_leave_one_out_against_brute_force(rewarded):
    batch = [s for name, rewards in REWARDS.items() for s in rewarded(name, rewards)]
    build("credit", "leave_one_out")(batch)
    expected = [
        reward - np.mean(rewards[:i] + rewards[i + 1 :])
        for rewards in REWARDS.values()
        for i, reward in enumerate(rewards)
    ]
    assert [s.advantage for s in batch] == pytest.approx(expected)


def test_leave_one_out_leaves_out_what_does_not_count(rewarded):
    batch = rewarded("g", [1.0, 0.5, -3.0, 9.0])
    for scored, weight in zip(batch, [1.0, 0.5, 0.25, 0.0], strict=True):
        scored.weight = weight
    build("credit", "leave_one_out")(batch)
    others = [(0.25 - 0.75) / 0.75, (1.0 - 0.75) / 1.25, (1.0 + 0.25) / 1.5]
    assert [s.advantage for s in batch[:3]] == pytest.approx([1.0 - others[0], 0.5 - others[1], -3.0 - others[2]])
    [last] = [scored for scored in batch if scored.reward == 1.0]
    for scored in batch:
        scored.weight = float(scored is last)
    build("credit", "leave_one_out")(batch)
    assert last.advantage == 0.0


def test_leave_one_out_is_the_mean_baseline_scaled(rewarded):
    # r_i - mean of the others = n / (n - 1) * (r_i - mean of all)
    batch = build("credit", "leave_one_out")(rewarded("g", [1.0, 0.0, 0.0, 0.0]))
    assert [s.advantage for s in batch] == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])


@pytest.mark.parametrize("credit", ["group_relative", "leave_one_out"])
def test_groups_are_told_apart_by_id_alone(rewarded, credit):
    """Same prompt everywhere, members interleaved in any order: each as if its group were alone."""
    step = build("credit", credit)
    alone = {name: [s.advantage for s in step(rewarded(name, rewards))] for name, rewards in REWARDS.items()}
    for seed in range(20):
        groups = {name: rewarded(name, rewards, prompt="the same prompt") for name, rewards in REWARDS.items()}
        batch = [s for members in groups.values() for s in members]
        random.Random(seed).shuffle(batch)
        step(batch)
        for name, members in groups.items():
            assert [s.advantage for s in members] == pytest.approx(alone[name])


def test_one_group_held_by_two_objects_is_one_group(rewarded):
    batch = rewarded("g", [1.0]) + rewarded("g", [0.0])
    assert isinstance(batch[0].group, Group)
    assert batch[0].group is not batch[1].group
    build("credit", "leave_one_out")(batch)
    assert [s.advantage for s in batch] == [1.0, -1.0]


def test_whiten_compares_over_tokens_by_weight(group, episode):
    # 3 tokens at 1, 1 at -1, and one of 4 tokens that weighs half at 0: mean 2/6, mean square 4/6, variance 5/9.
    batch = [episode(group, actions=[length]) for length in (3, 1, 4)]
    for scored, advantage, weight in zip(batch, (1.0, -1.0, 0.0), (1.0, 1.0, 0.5), strict=True):
        scored.advantage, scored.weight = advantage, weight
    build("credit", "whiten")(batch)
    wanted = [(a - 1 / 3) / math.sqrt(5 / 9) for a in (1, -1, 0)]
    assert [s.advantage for s in batch] == pytest.approx(wanted)


def test_whiten_by_turn(group, episode):
    # Turns of 1 and 3 tokens at 2 and 0: mean 1/2, variance 4/4 - 1/4.
    scored = episode(group, actions=[1, 3])
    scored.turn_advantages = [2.0, 0.0]
    build("credit", "whiten")([scored])
    assert scored.turn_advantages == pytest.approx([1.5 / math.sqrt(0.75), -0.5 / math.sqrt(0.75)])


def test_whiten_without_spread_gives_nothing(group, episode):
    batch = [episode(group, actions=[length]) for length in (1, 2)]
    for scored in batch:
        scored.advantage = 0.7
    build("credit", "whiten")(batch)
    assert [s.advantage for s in batch] == [0.0, 0.0]
