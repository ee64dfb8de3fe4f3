"""What saves memory changes no result: gradient checkpointing, packing, bfloat16 weights with float32 masters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from agentgym.config import build
from agentgym.engines.torch import Torch
from agentgym.models.load import load_policy
from agentgym.runlog import read_metrics
from agentgym.trainers.base import LossTerm, Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.reduce import token_weights
from agentgym.types import Group, Outcome, Task, Tokens, Turn


def batch() -> list[Scored]:
    """Three trajectories of one prompt; one of them in two turns."""
    group = Group("g", Task("t", "p", "a"))
    for parent, context, action in (
        (None, (1, 100, 101), (110, 111, 2)),
        (None, (1, 100, 101), (120, 121, 122, 123)),
        (1, (130, 131), (140, 2)),
        (None, (1, 100, 101), (110, 150)),
    ):
        sampled = Tokens(action, (-5.5,) * len(action))
        group.turns.append(Turn(parent, Tokens(context), sampled, outcome=Outcome.DONE))
    return [Scored(group, leaf, advantage=a) for leaf, a in zip(group.leaves(), (1.0, -0.5, 0.7), strict=True)]


CLIPPED = [build("loss", "ppo_clip"), build("loss", {"name": "entropy_bonus", "coef": 0.1})]


def update(learner: Learner, losses: list[LossTerm], lr: float = 1e-3) -> dict[str, float]:
    scored = batch()
    weights = token_weights([s.length for s in scored], [1.0] * len(scored), "token_mean")
    return learner.update(scored, weights, losses, lr=lr, microbatch_tokens=4096)


def gradients(model: Any) -> tuple[dict[str, torch.Tensor], int]:
    """The gradient of one update by parameter, and how often the first layer ran."""
    found: dict[str, torch.Tensor] = {}
    passes = 0
    names = {parameter: name for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: found.update({names[p]: p.grad.clone()}))

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    model.model.layers[0].self_attn.register_forward_hook(count)
    update(Learner(model.eval(), max_grad_norm=1e9), CLIPPED)  # as the engine leaves it
    return found, passes


@pytest.mark.parametrize("family", ["Qwen2", "Llama"])
def test_gradient_checkpointing_gives_the_same_gradient(family: str, pretrained: Any) -> None:
    folder = pretrained(family)
    plain, checkpointed = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
    checkpointed.gradient_checkpointing_enable()
    expected, once = gradients(plain)
    found, twice = gradients(checkpointed)
    assert (once, twice) == (1, 2)  # it was on: layers are computed again in the backward pass
    assert expected.keys() == found.keys() == dict(plain.named_parameters()).keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-3


def test_packing_is_a_setting(train: Any, tmp_path: Path) -> None:
    runs = [train(tmp_path / name, f"packing={name}") for name in ("tree", "flat")]
    tree, flat = (next(row for row in read_metrics(path) if "loss" in row) for path in runs)
    assert flat["trained_tokens"] == tree["trained_tokens"]
    assert flat["computed_tokens"] > tree["computed_tokens"]  # each of two answers after a prompt of its own
    assert flat["loss"] == pytest.approx(tree["loss"], rel=1e-4)
    assert flat["grad_norm"] == pytest.approx(tree["grad_norm"], rel=1e-3)


def test_small_steps_are_not_lost_in_bfloat16(pretrained: Any) -> None:
    folder = pretrained("Llama")
    narrow = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    wide = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).float()
    learner, reference = Learner(narrow), Learner(wide)
    weight = narrow.model.norm.weight  # all ones, where bfloat16 cannot hold a step of 2e-4
    for step in range(50):
        for each in (learner, reference):
            update(each, [build("loss", "sft")], lr=2e-4)
        assert step or torch.equal(weight, torch.ones_like(weight))
    moved, expected = weight.float() - 1, wide.model.norm.weight.detach() - 1
    assert expected.abs().median() > 8e-3
    assert torch.allclose(moved, expected, atol=4e-3)
    assert weight.dtype == torch.bfloat16
    kept = learner.state_tensors()["weight|model.norm.weight"]
    assert kept.dtype == torch.float32
    assert torch.equal(kept.bfloat16(), weight)


@pytest.mark.parametrize("family", ["Qwen2", "Llama"])
def test_places_are_as_exact_in_a_narrow_model(family: str, pretrained: Any) -> None:
    """Rotary frequencies are no weights: in bfloat16 they would be wrong by radians after some thousand tokens."""
    folder = pretrained(family)
    expected = AutoModelForCausalLM.from_pretrained(folder).model.rotary_emb.inv_freq
    for dtype in ("float32", "bfloat16", "float16"):
        model, tokenizer = load_policy(str(folder), seed=0, dtype=dtype)
        copied = Torch(dtype="bfloat16").start(model, tokenizer).model
        for each in (model, copied):
            found = each.model.rotary_emb.inv_freq
            assert (found.dtype, found.equal(expected)) == (torch.float32, True)
        assert {weight.dtype for weight in model.parameters()} == {getattr(torch, dtype)}
        assert {weight.dtype for weight in copied.parameters()} == {torch.bfloat16}
