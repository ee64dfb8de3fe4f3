"""DeepSearch, by hand."""

from __future__ import annotations

from math import tanh

import pytest

from agentgym.services import Services
from agentgym.trainers.base import Scored
from agentgym.types import Group, Outcome, Task, Tokens, Turn


async def test_advantages(stage):
    # A root turn worth 0.5 with three ends: right, wrong and supervised, wrong and not. The mean of the ends that
    # count is (1 - 1) / 2 = 0, so A = tanh(q); with one right end only it is 1, and A = tanh(q) - 1.
    rl = stage("deepsearch", "rl")
    batch = await score(rl, [(1.0, True), (-1.0, True), (-1.0, False)])
    assert [s.weight for s in batch] == [1.0, 1.0, 0.0]
    assert [s.turn_advantages for s in batch[:2]] == [
        pytest.approx([tanh(0.5), tanh(1.0)]),
        pytest.approx([tanh(0.5), tanh(-1.0)]),
    ]
    [only, _] = await score(rl, [(1.0, True), (-1.0, False)])
    assert only.turn_advantages == pytest.approx([tanh(0.5) - 1, tanh(1.0) - 1])


async def score(rl, ends):
    group = Group("g", Task("t", "p", "a"), [Turn(None, Tokens((1,)), Tokens((2,)), info={"value": 0.5})])
    for value, supervised in ends:
        info = {"value": value, "supervised": supervised, "success": value > 0}
        group.turns.append(Turn(0, Tokens((3,)), Tokens((4,)), outcome=Outcome.DONE, info=info))
    for signal in rl.signals:
        await signal(group, Services())
    batch = [Scored(group, leaf) for leaf in group.leaves()]
    for step in rl.credit:
        batch = step(batch)
    return batch


def test_loss(stage):
    # A = 1: 1.5 is cut at 1.28, 1 stays: -2.28. A = -1: ratio 30 is bounded at 10, 1 stays: 11. Every token alike.
    assert stage("deepsearch", "rl").loss([1, -1], [[1.5, 1.0], [30.0, 1.0]]) == pytest.approx(8.72 / 4)


async def test_groups_that_were_all_wrong_are_kept(stage):
    rl = stage("deepsearch", "rl")
    assert rl.sampler.start(source=None, seed=0).admit(await score(rl, [(-1.0, True), (-1.0, False)])) == 1.0
