"""Low-rank adapters: only they are trained and saved, and a run resumes from them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from agentgym import run
from agentgym.config import parse_overrides
from agentgym.models.load import load_policy

from .logits import logits

LORA = ["lora.rank=4", "max_steps=2", "save_every=1"]


def trainer_state(path: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(path / "checkpoints" / f"step_{step}" / "trainer_state.tensors")


@pytest.fixture(scope="module")
def trained(pretrained: Any, train: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The base model's folder, and that of a run of two steps with a checkpoint after each."""
    base = pretrained("Llama")
    return base, train(tmp_path_factory.mktemp("runs"), f"model={base}", *LORA)


def test_only_adapters_are_trained_and_saved(trained: tuple[Path, Path]) -> None:
    base, path = trained
    weights = {key for key in trainer_state(path, 2) if key.startswith("weight|")}
    assert weights
    assert all(".lora_A." in key or ".lora_B." in key for key in weights)
    checkpoint = path / "checkpoints" / "step_2"
    assert not list(checkpoint.glob("model*.safetensors"))
    saved = load_file(checkpoint / "adapter_model.safetensors")
    assert any(value.abs().max() > 0 for key, value in saved.items() if "lora_B" in key)

    plain = logits(AutoModelForCausalLM.from_pretrained(base))
    adapted = logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), checkpoint))
    assert not torch.allclose(adapted, plain, atol=1e-4)
    merged, _ = load_policy(str(checkpoint), seed=0)
    assert torch.allclose(logits(merged), adapted, atol=1e-5)


def test_an_adapter_run_resumes_to_the_uninterrupted_one(
    trained: tuple[Path, Path], train: Any, tmp_path: Path
) -> None:
    base, whole = trained
    parts = tmp_path / "parts"
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / "checkpoints" / "step_2")
    (parts / "checkpoints" / "latest").write_text("step_1\n")
    train(tmp_path, f"model={base}", *LORA, "run_name=parts", "resume=true")
    expected, found = trainer_state(whole, 2), trainer_state(parts, 2)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


async def test_an_adapter_checkpoint_evaluates(trained: tuple[Path, Path]) -> None:
    checkpoint = trained[1] / "checkpoints" / "step_2"
    words = [f"model={checkpoint}", "env=retool", "max_completion_tokens=8", "device=cpu"]
    result, _ = await run.evaluate(run.resolve_settings(parse_overrides(words), []), 2, 1)
    assert result.episodes == 2
