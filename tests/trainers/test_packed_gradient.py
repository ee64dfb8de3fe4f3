"""The gradient of either layout is that of the forest's trajectories, each computed alone by the plain model.

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

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.trainers.base import LossTerm, Packing, Reduction, Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.entropy_bonus import EntropyBonus
from agentgym.trainers.losses.kl import Kl
from agentgym.trainers.losses.ppo_clip import PpoClip
from agentgym.trainers.reduce import token_weights
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


def model(family: str = "Qwen2", seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**SIZES | options)
    made = getattr(transformers, f"{family}ForCausalLM")(config).double()
    with torch.no_grad():
        for parameter in made.parameters():  # far from uniform, so that mistakes show
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def forest(parents: Sequence[Sequence[int | None]], seed: int = 0) -> list[Scored]:
    """Groups of random tokens with these parents and an advantage for each turn of a trajectory.

    Half of the roots of a group share their prompt, and half of the turns after the same parent their observation.
    """
    rng = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(VOCAB) for _ in range(n))

    batch: list[Scored] = []
    for number, group_parents in enumerate(parents):
        group = Group(f"g{number}", Task("same", "p", "a"))
        shared = {parent: ids(rng.randrange(1, 7)) for parent in group_parents}
        for i, parent in enumerate(group_parents):
            alone = ids(rng.randrange(0 if i else 1, 4))
            observation = shared[parent] if i % 2 else alone or shared[parent][: parent is None]
            action = ids(rng.randrange(1, 6))
            kept = tuple(-4 + rng.random() for _ in action)
            group.turns.append(Turn(parent, Tokens(observation), Tokens(action, kept), outcome=Outcome.DONE))
        for leaf in group.leaves():
            turns = [rng.gauss(0, 1) for _ in group.path(leaf)]
            batch.append(Scored(group, leaf, turn_advantages=turns))
    return batch


class Gradient(Learner):
    """Keeps the gradient instead of stepping."""

    def _step(self, lr: float) -> float:
        self.gradient = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        return 0.0


def packed(
    batch: Sequence[Scored],
    weights: Sequence[float],
    microbatch_tokens: int = 10**6,
    family: str = "Qwen2",
    packing: Packing = "tree",
    losses: Sequence[LossTerm] = LOSSES,
    **options: Any,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    learner = Gradient(model(family, **options), packing=packing)
    learner.reference = Gradient(model(family, seed=1, **options), packing=packing).scorer
    metrics = learner.update(batch, weights, losses, lr=1e-3, microbatch_tokens=microbatch_tokens)
    return learner.gradient, metrics


def flattened(
    batch: Sequence[Scored], weights: Sequence[float], family: str = "Qwen2", **options: Any
) -> tuple[dict[str, Tensor], float]:
    """Right-padded rows through the plain forward; PPO's clip, entropy and the k3 estimate written out."""
    policy, reference = model(family, **options), model(family, seed=1, **options)
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
        for turn, advantage in zip(scored.turns, scored.turn_advantages or (), strict=True):
            at += len(turn.context)
            for token, old in zip(turn.action.ids, turn.action.logprobs or (), strict=True):
                now, ref = logp[row, at - 1], ref_logp[row, at - 1]
                ratio = torch.exp(now[token] - old)
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


@pytest.mark.parametrize("packing", ["tree", "flat"])
@pytest.mark.parametrize("microbatch_tokens", [10**6, 24, 1])
@pytest.mark.parametrize("shape", FORESTS)
def test_packed_equals_flattened(shape: str, microbatch_tokens: int, packing: Packing) -> None:
    batch = forest(FORESTS[shape])
    wanted, loss = flattened(batch, uneven(batch))
    found, metrics = packed(batch, uneven(batch), microbatch_tokens, packing=packing)
    assert_same(found, wanted)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("packing", ["tree", "flat"])
@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "constant"])
@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Llama", "Mistral"])
def test_packed_equals_flattened_in_every_family_and_reduction(
    family: str, reduction: Reduction, packing: Packing
) -> None:
    batch = random_forest(seed=3)
    lengths = [s.length for s in batch]
    each = {"token_mean": len(batch) / sum(lengths), "constant": 1 / 50}
    by_hand = [each.get(reduction, 1 / length) / len(batch) for length in lengths]
    wanted, loss = flattened(batch, by_hand, family)
    weights = token_weights(lengths, [1.0] * len(batch), reduction, 50)
    found, metrics = packed(batch, weights, 60, family, packing)
    assert_same(found, wanted)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-6)


def random_forest(seed: int) -> list[Scored]:
    rng = random.Random(seed)
    return forest([[None, *(rng.choice([None, *range(i)]) for i in range(1, 9))] for _ in range(3)], seed)


@pytest.mark.parametrize("seed", range(4))
def test_packed_equals_flattened_on_random_forests(seed: int) -> None:
    batch = random_forest(seed)
    assert_same(packed(batch, uneven(batch), 60)[0], flattened(batch, uneven(batch))[0])


SLIDING = {"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}


@pytest.mark.parametrize("packing", ["tree", "flat"])
@pytest.mark.parametrize(("family", "options"), [("Mistral", {}), ("Qwen2", SLIDING)])
def test_windows_slide_along_paths(family: str, options: dict[str, Any], packing: Packing) -> None:
    batch, options = forest(FORESTS["bushy"]), {"sliding_window": 5, **options}
    wanted, _ = flattened(batch, uneven(batch), family, **options)
    assert_same(packed(batch, uneven(batch), 40, family, packing, **options)[0], wanted)
    with pytest.raises(AssertionError):  # the window matters
        assert_same(packed(batch, uneven(batch), 40, family, packing)[0], wanted)


def test_long_segments_are_cut_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentgym.trainers.tree_attention._SHORTEST", 2)
    batch = random_forest(seed=1)
    assert_same(packed(batch, uneven(batch))[0], flattened(batch, uneven(batch))[0])


def test_a_model_with_its_own_attention_trains_flat_and_is_told_so() -> None:
    batch = forest(FORESTS["bushy"])
    found, _ = packed(batch, uneven(batch), 60, "Falcon", "flat")
    assert_same(found, flattened(batch, uneven(batch), "Falcon")[0])
    with pytest.raises(ConfigError, match="packing=flat"):
        Learner(model("Falcon"))


def test_models_that_would_be_wrong_are_refused() -> None:
    recurrent = model()
    recurrent.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ConfigError, match=r"linear_attention.*packing=flat"):
        Learner(recurrent)
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8, "attn_implementation": "eager"}
    sinks = Learner(model("GptOss", **experts))
    batch = forest(FORESTS["chains"])
    with pytest.raises(ConfigError, match=r"sinks.*packing=flat"):
        sinks.update(batch, uneven(batch), [PpoClip()], lr=1e-3, microbatch_tokens=10**6)
    for packing in ("tree", "flat"):
        with pytest.raises(ConfigError, match="logits_scaling"):
            Learner(model("Granite", logits_scaling=2.0), packing=packing)


@pytest.mark.parametrize("packing", ["tree", "flat"])
def test_what_is_computed(packing: Packing) -> None:
    batch = forest(FORESTS["bushy"])
    _, metrics = packed(batch, uneven(batch), packing=packing)
    assert metrics["trained_tokens"] == sum(s.length for s in batch)  # a shared turn, once for each of its leaves
    if packing == "flat":
        assert metrics["computed_tokens"] == sum(len(t.context) + len(t.action) for s in batch for t in s.turns)
        return
    groups = {s.group.id: s.group for s in batch}.values()
    contexts = {(g.id, t.parent, t.context.ids) for g in groups for t in g.turns}  # read once, though often given
    assert len(contexts) < sum(len(g.turns) for g in groups)
    unique = sum(len(ids) for _, _, ids in contexts) + sum(len(t.action) for g in groups for t in g.turns)
    assert metrics["computed_tokens"] == unique


@pytest.mark.parametrize("reduction", ["token_mean", "constant"])
def test_hard_attribution_equals_soft_where_nothing_is_clipped(reduction: Reduction) -> None:
    soft, hard = random_forest(seed=2), random_forest(seed=2)
    for batch in (soft, hard):
        for i, scored in enumerate(batch):
            scored.weight = 0.5 + i % 3
    hard = build("credit", "shared_prefix")(hard)
    assert [s.turn_advantages for s in hard] != [s.turn_advantages for s in soft]
    weights = token_weights([s.length for s in soft], [s.weight for s in soft], reduction, 50)
    anywhere = PpoClip(clip_low=1.0, clip_high=1e9)
    assert_same(*(packed(batch, weights, losses=[anywhere])[0] for batch in (hard, soft)), tolerance=1e-10)
    clipped = [packed(batch, weights, losses=[PpoClip()])[0] for batch in (hard, soft)]
    with pytest.raises(AssertionError, match="is off by"):
        assert_same(*clipped, tolerance=1e-3)


@pytest.mark.parametrize("packing", ["tree", "flat"])
def test_a_trajectory_without_weight_leaves_no_trace(packing: Packing) -> None:
    batch = forest(FORESTS["bushy"])
    weights = [0.0 if i % 2 else w for i, w in enumerate(uneven(batch))]
    kept = [(s, w) for s, w in zip(batch, weights, strict=True) if w]
    wanted, _ = flattened([s for s, _ in kept], [w for _, w in kept])
    found, metrics = packed(batch, weights, 30, packing=packing)
    assert_same(found, wanted)
    assert metrics["trained_tokens"] == sum(s.length for s, _ in kept)


def test_minibatches_are_whole_groups_and_all_of_them() -> None:
    batch = forest([[None, 0, 0], [None] * 2, [None], [None, 0], [None] * 3])
    shuffled = copy.copy(batch)
    random.Random(0).shuffle(shuffled)
    parts = _split(shuffled, 2)
    assert len(parts) == 2
    assert sorted(map(id, (s for part in parts for s in part))) == sorted(map(id, batch))
    first, second = ({s.group.id for s in part} for part in parts)
    assert not first & second
