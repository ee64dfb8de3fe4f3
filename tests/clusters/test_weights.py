"""Weights go over to the bit, in any dtype; of an adapted model only what is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agentgym.clusters import weights
from agentgym.errors import EngineError
from agentgym.models.load import Lora, load_policy


def states(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_all_of_them(dtype: str) -> None:
    learner, _ = load_policy("nano", seed=0, dtype=dtype)
    other, _ = load_policy("nano", seed=1, dtype=dtype)
    weights.take(other, weights.export(learner))
    wanted = states(learner)
    for name, value in states(other).items():
        assert torch.equal(value, wanted[name]), name


def test_adapters_alone() -> None:
    learner, _ = load_policy("nano", seed=0, lora=Lora(rank=4))
    other, _ = load_policy("nano", seed=0, lora=Lora(rank=4))
    with torch.no_grad():
        for parameter in learner.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    exported = weights.export(learner)
    assert exported
    assert all(".lora_" in name for name in exported)
    weights.take(other, exported)
    wanted = states(learner)
    for name, value in states(other).items():
        assert torch.equal(value, wanted[name]), name


def test_another_model_is_refused() -> None:
    learner, _ = load_policy("nano", seed=0)
    other = torch.nn.Linear(2, 2)
    with pytest.raises(EngineError, match="the weights do not fit the model"):
        weights.take(other, weights.export(learner))
