"""The gradient over a packed forest is that of its trajectories, each computed alone by the plain model.

The reference shares nothing with the trainer: it flattens and pads the trajectories, calls transformers'
forward with an attention mask, and writes the loss out by hand. All is float64 but the models' own norms.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from agentgym.trainers.base import LossTerm, Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.entropy_bonus import EntropyBonus
from agentgym.trainers.losses.kl import Kl
from agentgym.trainers.losses.ppo_clip import PpoClip
from agentgym.trainers.trainer import _split
from agentgym.types import Group, Outcome, Task, Tokens, Turn

VOCAB = 40
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "attn_implementation": "sdpa",  # eager would round the softmax to float32
}
LOSSES: list[LossTerm] = [PpoClip(clip_high=0.3), EntropyBonus(coef=0.05), Kl(coef=0.1)]

FORESTS: dict[str, list[list[int | None]]] = {  # the parent of each turn, group by group
    "independent": [[None] * 4, [None] * 3],
    "chains": [[None, 0, 1, 2, None, 4], [None, 0, None]],
    "a turn with two children": [[None, 0, 0]],
    "a branch from an inner turn": [[None, 0, 1, 0, 3, 1]],
    "bushy": [[None, 0, 0, 0, 2, 2, 5, 4, None, 8, 8], [None, 0, 1, 2, 1, 4, 4], [None]],
    "a branch grown after its siblings": [[None, 0, 1, 2, 0, 4, 2, 3]],
}


def model(family: str = "Qwen2", seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**SIZES)
    made = getattr(transformers, f"{family}ForCausalLM")(config).double()
    with torch.no_grad():
        for parameter in made.parameters():  # far from uniform, so that mistakes show
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def forest(parents: Sequence[Sequence[int | None]], seed: int = 0) -> list[Scored]:
    """Groups of random tokens with these parents; half of the roots of a group share their prompt."""
    rng = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(VOCAB) for _ in range(n))

    batch: list[Scored] = []
    for number, group_parents in enumerate(parents):
        group = Group(f"g{number}", Task("same", "p", "a"))
        prompt = ids(rng.randrange(1, 7))
        for i, parent in enumerate(group_parents):
            observation = ids(rng.randrange(0, 4)) if parent is not None else prompt if i % 2 else ids(3)
            action = ids(rng.randrange(1, 6))
            kept = tuple(-4 + rng.random() for _ in action)
            group.turns.append(Turn(parent, Tokens(observation), Tokens(action, kept), outcome=Outcome.DONE))
        batch += [Scored(group, leaf, advantage=rng.gauss(0, 1)) for leaf in group.leaves()]
    return batch


class Gradient(Learner):
    """Keeps the gradient instead of stepping."""

    def _step(self, lr: float) -> float:
        self.gradient = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        return 0.0


def packed(
    batch: Sequence[Scored], weights: Sequence[float], microbatch_tokens: int, family: str = "Qwen2"
) -> tuple[dict[str, Tensor], dict[str, float]]:
    learner = Gradient(model(family))
    learner.reference = Gradient(model(family, seed=1)).causal_lm
    metrics = learner.update(batch, weights, LOSSES, lr=1e-3, microbatch_tokens=microbatch_tokens)
    return learner.gradient, metrics


def flattened(
    batch: Sequence[Scored], weights: Sequence[float], family: str = "Qwen2"
) -> tuple[dict[str, Tensor], float]:
    """Right-padded rows through the plain forward; PPO's clip, entropy and the k3 estimate written out."""
    policy, reference = model(family), model(family, seed=1)
    rows = [[i for t in s.turns for part in (t.context, t.action) for i in part.ids] for s in batch]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    logp = policy(input_ids=ids, attention_mask=real, use_cache=False).logits.log_softmax(-1)
    with torch.no_grad():
        ref_logp = reference(input_ids=ids, attention_mask=real, use_cache=False).logits.log_softmax(-1)
    loss = torch.zeros((), dtype=torch.float64)
    for row, (scored, weight) in enumerate(zip(batch, weights, strict=True)):
        at = 0
        for turn in scored.turns:
            at += len(turn.context)
            for token, old in zip(turn.action.ids, turn.action.logprobs or (), strict=True):
                now, ref = logp[row, at - 1], ref_logp[row, at - 1]
                ratio = torch.exp(now[token] - old)
                advantage = scored.advantage
                surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage)
                entropy = -(now.exp() * now).sum()
                gap = ref[token] - now[token]
                loss = loss + weight * (-surrogate - 0.05 * entropy + 0.1 * (gap.exp() - gap - 1))
                at += 1
    loss.backward()
    return {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}, float(loss.detach())


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        off = float((found[name] - gradient).norm() / gradient.norm())
        assert off < tolerance, f"{name} is off by {off:.2g}"


def uneven(batch: Sequence[Scored]) -> list[float]:
    return [0.01 * (1 + i % 3) for i in range(len(batch))]


@pytest.mark.parametrize("microbatch_tokens", [10**6, 24, 1])
@pytest.mark.parametrize("shape", FORESTS)
def test_packed_equals_flattened(shape: str, microbatch_tokens: int) -> None:
    batch = forest(FORESTS[shape])
    wanted, loss = flattened(batch, uneven(batch))
    found, metrics = packed(batch, uneven(batch), microbatch_tokens)
    assert_same(found, wanted)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("family", ["Llama", "Qwen3", "Mistral"])
def test_packed_equals_flattened_in_other_families(family: str) -> None:
    batch = forest(FORESTS["bushy"], seed=3)
    assert_same(packed(batch, uneven(batch), 40, family)[0], flattened(batch, uneven(batch), family)[0])


@pytest.mark.parametrize("seed", range(4))
def test_packed_equals_flattened_on_random_forests(seed: int) -> None:
    rng = random.Random(seed)
    parents = [[None, *(rng.choice([None, *range(i)]) for i in range(1, 9))] for _ in range(3)]
    batch = forest(parents, seed)
    assert_same(packed(batch, uneven(batch), 60)[0], flattened(batch, uneven(batch))[0])


def test_every_token_of_a_forest_is_computed_once() -> None:
    batch = forest(FORESTS["bushy"])
    groups = {s.group.id: s.group for s in batch}.values()
    prompts = {(g.id, t.context.ids) for g in groups for t in g.turns if t.parent is None}
    unique = sum(len(ids) for _, ids in prompts)
    unique += sum(len(t.action) + (len(t.context) if t.parent is not None else 0) for g in groups for t in g.turns)
    _, metrics = packed(batch, uneven(batch), 10**6)
    assert metrics["unique_tokens"] == unique
    assert metrics["trained_tokens"] == sum(s.length for s in batch)  # a shared turn, once for each of its leaves


def test_a_trajectory_without_weight_leaves_no_trace() -> None:
    batch = forest(FORESTS["bushy"])
    weights = [0.0 if i % 2 else w for i, w in enumerate(uneven(batch))]
    kept = [(s, w) for s, w in zip(batch, weights, strict=True) if w]
    wanted, _ = flattened([s for s, _ in kept], [w for _, w in kept])
    assert_same(packed(batch, weights, 30)[0], wanted)


def test_minibatches_are_whole_groups_and_all_of_them() -> None:
    batch = forest([[None, 0, 0], [None] * 2, [None], [None, 0], [None] * 3])
    shuffled = copy.copy(batch)
    random.Random(0).shuffle(shuffled)
    parts = _split(shuffled, 2)
    assert len(parts) == 2
    assert sorted(map(id, (s for part in parts for s in part))) == sorted(map(id, batch))
    first, second = ({s.group.id for s in part} for part in parts)
    assert not first & second
