"""Where something was taken back, either layout's gradient is that of each turn alone in the plain model."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from agentgym.config import build
from agentgym.trainers.base import Packing, Reduction, Scored
from agentgym.trainers.learner import LAYOUTS
from agentgym.trainers.losses.ppo_clip import PpoClip
from agentgym.trainers.reduce import token_weights
from agentgym.types import Group, Outcome, Task, Tokens, Turn

from .test_packed_gradient import FORESTS, VOCAB, assert_same, forest, model, packed, random_forest, uneven

UNCLIPPED = PpoClip(clip_low=1.0, clip_high=1e9)
PACKINGS: tuple[Packing, ...] = ("tree", "flat")


def forgetting(batch: list[Scored], seed: int = 0) -> list[Scored]:
    """The same forests, in which turns lose the observation before the last action, begin anew from a part of what
    was said, or from nothing; children of the same parent often alike."""
    rng = random.Random(seed)
    for group in {s.group.id: s.group for s in batch}.values():
        for index, turn in enumerate(group.turns):
            if turn.parent is None:
                continue
            parent = group.turns[turn.parent]
            before, kind = seen(group, turn.parent), random.Random(f"{seed} {group.id} {turn.parent}").random()
            kept = before[: len(before) - len(parent.context)] + parent.action.ids
            start = rng.randrange(len(before) + 1)
            some = before[:start] + tuple(rng.randrange(VOCAB) for _ in range(rng.randrange(3)))
            turn.recalled = kept if kind < 0.4 else (None, some, ())[index % 3] if kind < 0.9 else None
            if not (turn.recalled or turn.context.ids):
                turn.context = Tokens((1, 2))
    return batch


def seen(group: Group, index: int) -> tuple[int, ...]:
    """What the policy saw at the turn, by the definition."""
    turn = group.turns[index]
    if turn.recalled is not None:
        return turn.recalled + turn.context.ids
    if turn.parent is None:
        return turn.context.ids
    return seen(group, turn.parent) + group.turns[turn.parent].action.ids + turn.context.ids


def alone(batch: Sequence[Scored], weights: Sequence[float]) -> dict[str, Tensor]:
    """The gradient of -ratio * advantage, one forward of the plain model for each turn of each trajectory."""
    policy = model()
    for scored, weight in zip(batch, weights, strict=True):
        path = scored.group.path(scored.leaf)
        for index, advantage in zip(path, scored.turn_advantages or (), strict=True):
            context, action = seen(scored.group, index), scored.group.turns[index].action
            logits = policy(input_ids=torch.tensor([context + action.ids]), use_cache=False).logits[0]
            logp = logits.log_softmax(-1)[len(context) - 1 : -1].gather(1, torch.tensor(action.ids)[:, None])[:, 0]
            ratio = (logp - torch.tensor(action.logprobs, dtype=torch.float64)).exp()
            (-ratio * advantage * weight).sum().backward()
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("microbatch_tokens", [10**6, 40, 1])
@pytest.mark.parametrize("shape", ["chains", "a branch from an inner turn", "bushy", "random 0", "random 1"])
def test_gradients_are_those_of_every_turn_alone(shape: str, microbatch_tokens: int, packing: Packing) -> None:
    batch = forest(FORESTS[shape]) if shape in FORESTS else random_forest(int(shape.split()[1]))
    remembered, _ = packed(batch, uneven(batch), losses=[UNCLIPPED])
    batch = forgetting(batch)
    wanted = alone(batch, uneven(batch))
    found, metrics = packed(batch, uneven(batch), microbatch_tokens, packing=packing, losses=[UNCLIPPED])
    assert_same(found, wanted)
    assert metrics["trained_tokens"] == sum(s.length for s in batch)
    with pytest.raises(AssertionError, match="is off by"):  # it matters
        assert_same(remembered, wanted, tolerance=1e-3)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_turn_may_begin_anew_at_the_prompt_itself(packing: Packing) -> None:
    prompt = (0, 1, 2)
    anew = Turn(1, Tokens(()), tokens(30, 2), outcome=Outcome.DONE, recalled=prompt)
    roots = [Turn(None, Tokens(prompt), tokens(start, 2), outcome=Outcome.DONE) for start in (10, 20)]
    group = Group("g", Task("t", "", ""), [*roots, anew])
    batch = [Scored(group, 0, turn_advantages=[0.5]), Scored(group, 2, turn_advantages=[0.5, 1.0])]
    found, metrics = packed(batch, uneven(batch), packing=packing, losses=[UNCLIPPED])
    assert_same(found, alone(batch, uneven(batch)))
    assert metrics["computed_tokens"] == (3 + 3 * 2 if packing == "tree" else 3 * 5)


def tokens(first: int, n: int) -> Tokens:
    return Tokens(tuple(range(first, first + n)), (-1.0,) * n)


def two_chains() -> Group:
    """3 turns each after one prompt; the second has lost its middle observation, and goes on in two ways."""
    group = Group("g", Task("t", "", ""))
    for start in (10, 20):
        group.turns.append(Turn(None, Tokens((0, 1, 2)), tokens(start, 2)))
        group.turns.append(Turn(len(group.turns) - 1, Tokens((3, 4, 5, 6)), tokens(start + 2, 3)))
        parent = len(group.turns) - 1
        recalled = None if start == 10 else (0, 1, 2, 20, 21, 22, 23, 24)
        for last, n in ((30, 2), (34, 4))[: start // 10]:
            turn = Turn(parent, Tokens((7, 8)), tokens(last, n), outcome=Outcome.DONE, recalled=recalled)
            group.turns.append(turn)
    return group


def test_only_what_comes_after_the_gap_is_computed_again() -> None:
    group = two_chains()
    batch = [Scored(group, leaf, turn_advantages=[1.0] * 3) for leaf in group.leaves()]
    unique = 3 + (2 + 4 + 3 + 2 + 2) + (2 + 4 + 3) + (3 + 2 + 2 + 4)  # prompt, first, second, what follows its gap
    assert packed(batch, [1.0] * 3, losses=[UNCLIPPED])[1]["computed_tokens"] == unique
    rows = 16 + 2 * (3 + 2 + 4 + 3) + (3 + 2 + 3 + 2 + 2) + (3 + 2 + 3 + 2 + 4)
    assert packed(batch, [1.0] * 3, packing="flat", losses=[UNCLIPPED])[1]["computed_tokens"] == rows
    (pack,) = LAYOUTS["tree"](model()).packs(batch, [1.0] * 3, unique)
    assert pack.num_tokens == unique, "counted as it is computed"


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "constant"])
def test_a_trajectory_keeps_one_reward_one_advantage_and_its_share(reduction: Reduction, packing: Packing) -> None:
    group = two_chains()
    batch = [Scored(group, leaf, reward=float(number)) for number, leaf in enumerate(group.leaves())]
    batch = build("credit", "group_relative")(batch)
    weights = token_weights([s.length for s in batch], [1.0] * 3, reduction, 50)
    packs = LAYOUTS[packing](model()).packs(batch, weights, 10**6)
    entries = [entry for pack in packs for entry in pack.entries]
    assert [s.length for s in batch] == [7, 7, 9]
    assert len({s.advantage for s in batch}) == 3
    for scored in batch:
        mine = [entry.weight for entry in entries if entry.advantage == scored.advantage]
        assert len(mine) == scored.length
        share = {"token_mean": 1 / 23, "sequence_mean": 1 / 3 / scored.length, "constant": 1 / 3 / 50}[reduction]
        assert mine == pytest.approx([share] * scored.length)
