"""The learner's bookkeeping: steps that are skipped, state that comes back, a reference that stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agentgym.models import nano
from agentgym.models.load import Lora, load_policy
from agentgym.trainers.base import Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.kl import Kl
from agentgym.trainers.losses.sft import Sft
from agentgym.trainers.optimizer import Optimizer
from agentgym.types import Group, Outcome, Task, Tokens, Turn


def batch(*ids: int) -> list[Scored]:
    group = Group("g", Task("t", "p", "a"))
    group.turns.append(Turn(None, Tokens((5, 6)), Tokens(ids, (-1.0,) * len(ids)), outcome=Outcome.DONE))
    return [Scored(group, 0, advantage=1.0)]


def learn(learner: Learner, *ids: int, weight: float = 0.1, kl: bool = False) -> dict[str, float]:
    losses: list[Any] = [Sft(), Kl(coef=0.1)] if kl else [Sft()]
    return learner.update(batch(*(ids or (7, 8, 9))), [weight], losses, lr=1e-2, microbatch_tokens=100)


def snapshot(learner: Learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.state_tensors().items()}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not found[name].equal(wanted[name])] == []


def test_a_gradient_that_is_not_finite_is_skipped_and_counted() -> None:
    learner = Learner(nano.model(0))
    learn(learner)
    before = snapshot(learner)
    metrics = learn(learner, weight=float("nan"))
    assert not metrics["grad_norm"] < float("inf")
    assert learner.skipped == 1
    assert_equal(snapshot(learner), before)
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    learn(learner)
    assert learner.skipped == 1
    assert not snapshot(learner)["weight|model.norm.weight"].equal(before["weight|model.norm.weight"])


def test_gradients_of_a_narrow_model_add_up_in_float32() -> None:
    """Of a hundred equal micro-batches, a hundred times that of one: a sum in bfloat16 would fall short."""

    class Gradient(Learner):
        def _step(self, lr: float) -> float:
            self.gradient = {name: master.grad for name, master in self.masters.items()}
            return 0.0

    def gradient(copies: int) -> dict[str, Tensor | None]:
        learner = Gradient(nano.model(0).to(torch.bfloat16))
        rows = [row for _ in range(copies) for row in batch(7, 8, 9)]
        for number, row in enumerate(rows):
            row.group.id = f"g{number}"
        learner.update(rows, [0.1] * copies, [Sft()], lr=1e-2, microbatch_tokens=5)
        assert all(weight.grad is None for weight in learner.parameters.values())
        return learner.gradient

    once, often = gradient(1), gradient(100)
    for name, each in once.items():
        assert each is not None
        torch.testing.assert_close(often[name], 100 * each, rtol=1e-4, atol=0, msg=name)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_going_on_from_saved_state_is_going_on(optimizer: Any, dtype: torch.dtype) -> None:
    """Parameters, moments and the step count: all that the next steps depend on."""
    straight = Learner(nano.model(0).to(dtype), optimizer=optimizer)
    learn(straight)
    saved = snapshot(straight)
    learn(straight, 9, 8, 7)
    resumed = Learner(nano.model(1).to(dtype), optimizer=optimizer)
    resumed.load_state_tensors(saved)
    learn(resumed, 9, 8, 7)
    assert_equal(snapshot(resumed), snapshot(straight))
    for ours, theirs in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        assert ours.equal(theirs)


def test_the_reference_stays_where_it_was_kept_and_comes_back() -> None:
    learner = Learner(nano.model(0))
    start = snapshot(learner)
    learner.keep_reference()
    assert learn(learner, kl=True)["kl"] == pytest.approx(0, abs=1e-9)
    assert learn(learner, kl=True)["kl"] > 0
    resumed = Learner(nano.model(1))
    resumed.load_state_tensors(snapshot(learner))
    resumed.restore_reference(start)
    assert_equal(snapshot(resumed), snapshot(learner))
    both = [learn(each, kl=True) for each in (learner, resumed)]
    assert both[0] == both[1]
    assert_equal(snapshot(resumed), snapshot(learner))


def test_with_adapters_the_reference_shares_all_that_does_not_learn() -> None:
    model, _ = load_policy("nano", seed=0, lora=Lora(rank=4))
    learner = Learner(model)
    learner.keep_reference()
    assert learner.reference is not None
    for own, kept in zip(learner.causal_lm.parameters(), learner.reference.parameters(), strict=True):
        assert (own is kept) == (not own.requires_grad)
    assert learn(learner, kl=True)["kl"] == pytest.approx(0, abs=1e-9)
    assert learn(learner, kl=True)["kl"] > 0


def test_what_only_looks_has_no_dropout() -> None:
    """Also after an update, for which the model is in training mode."""
    model, _ = load_policy("nano", seed=0, lora=Lora(rank=4, dropout=0.5))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.3)
    with torch.no_grad():
        logprobs = model.eval()(torch.tensor([[5, 6, 7, 8, 9]])).logits[0].log_softmax(-1)
    wanted = [float(logprobs[place, token]) for place, token in ((1, 7), (2, 8), (3, 9))]
    learner = Learner(model)
    learner.scorer.train()
    [scored] = batch(7, 8, 9)
    learner.recompute([scored], 100)
    assert scored.proximal == pytest.approx(wanted, abs=1e-5)


def test_state_that_comes_back_lies_where_the_weights_do() -> None:
    here = Optimizer("adamw", {"w": torch.ones(2, 2)}, weight_decay=0.0, beta2=0.9)
    here.weights["w"].grad = torch.ones(2, 2)
    here.step(1e-3)
    there = Optimizer("adamw", {"w": torch.ones(2, 2, device="meta")}, weight_decay=0.0, beta2=0.9)
    there.load_state_tensors(here.state_tensors())
    found = there.state_tensors()
    assert found.keys() == {"step|w", "exp_avg|w", "exp_avg_sq|w"}
    assert {tensor.device.type for tensor in found.values()} == {"meta"}


def test_a_steps_metrics_are_those_of_all_its_updates():
    from agentgym.trainers.trainer import _together

    first, second = {"trained_tokens": 10, "loss": 1.0}, {"trained_tokens": 30, "loss": 2.0}
    assert _together([first, second]) == {"trained_tokens": 40, "loss": 1.5}
