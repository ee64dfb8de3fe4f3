"""FlexAttention over a packed forest gives what the bucketed attention gives; uncompiled, on a CPU."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from agentgym.trainers.base import Scored
from agentgym.trainers.flex_tree import FlexPlan
from agentgym.trainers.pack import Pack, pack_trajectories
from agentgym.trainers.tree_attention import BucketPlan
from agentgym.types import Group, Outcome, Task, Tokens, Turn


def pack(seed: int) -> Pack:
    """Two random trees with prompts, shared observations, branches from the middle of turns that went on, and of
    what their parents saw."""
    rng = random.Random(seed)
    batch: list[Scored] = []
    for name in "ab":
        group = Group(name, Task("t", "p", "a"))
        shared = tuple(range(5))
        for i in range(9):
            parent = rng.choice([None, *range(i)])
            context, action = (shared if i % 2 else tuple(range(rng.randrange(1, 9)))), range(rng.randrange(1, 40))
            recalled = None if parent is None or i % 4 else group.seen(parent)[: rng.randrange(9)]
            turn = Turn(parent, Tokens(context), Tokens(tuple(action)), outcome=Outcome.DONE, recalled=recalled)
            group.turns.append(turn)
        batch += [Scored(group, leaf) for leaf in group.leaves()]
    (made,) = pack_trajectories(batch, [1.0] * len(batch), 10**6)
    return made


def attended(plan: BucketPlan | FlexPlan, rows: int, window: int | None) -> list[Tensor]:
    """Outputs and the gradients of queries, keys and values; two query heads to a key-value head."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, rows, 16, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2))
    out = plan.attend(q, k, v, 0.3, window)
    (out * torch.randn(out.shape, dtype=torch.float64)).sum().backward()  # type: ignore[no-untyped-call]
    assert q.grad is not None
    assert k.grad is not None
    assert v.grad is not None
    return [out, q.grad, k.grad, v.grad]


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("seed", range(3))
def test_flex_equals_buckets(seed: int, window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch refuses gradients on a CPU, for want of a fused kernel; the unfused one, which runs here, has them.
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    forest = pack(seed)
    flex, buckets = (
        attended(plan(forest, torch.device("cpu")), forest.num_tokens, window) for plan in (FlexPlan, BucketPlan)
    )
    for found, wanted in zip(flex, buckets, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
