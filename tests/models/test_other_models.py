"""`model=PATH` trains Hugging Face models of other families, and leaves checkpoints that others can load."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentgym.runlog import read_forests, read_metrics

from .logits import logits


@pytest.mark.parametrize("family", ["Qwen2", "Llama", "Mistral"])
def test_a_step_on_another_family(
    family: str, pretrained: Any, train: Any, tokenizer: Any, tmp_path: Path
) -> None:
    source = pretrained(family)
    path = train(tmp_path, f"model={source}")
    step = read_metrics(path)[0]
    assert step["trained_tokens"] > 0
    assert step["error_share"] == 0
    assert math.isfinite(step["grad_norm"])
    assert step["grad_norm"] > 0
    assert step["ratio_mean"] == pytest.approx(1, abs=1e-4)  # the weights that sampled are those that learn

    checkpoint = path / "checkpoints" / "step_1"
    saved = AutoModelForCausalLM.from_pretrained(checkpoint)
    masters = {
        key.removeprefix("weight|"): value
        for key, value in load_file(checkpoint / "trainer_state.tensors").items()
        if key.startswith("weight|")
    }
    weights = dict(saved.named_parameters())
    assert masters.keys() == weights.keys()
    assert all(torch.equal(masters[name], weights[name]) for name in masters)
    before = AutoModelForCausalLM.from_pretrained(source)
    assert not torch.allclose(logits(saved), logits(before), atol=1e-4)
    text = "What is 12 * 34?\n\\boxed{408} naïve 東京 🙂"
    assert AutoTokenizer.from_pretrained(checkpoint).encode(text) == tokenizer.encode(text)

    group = read_forests(path / "rollouts" / "step_1.jsonl")[0]
    opening = tokenizer.decode(group.turns[0].context.ids)
    assert opening.startswith("<|im_start|>")
    assert "Solve the problem. You can run Python programs" in opening
    assert opening.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_what_was_sampled_is_what_the_plain_model_says(pretrained: Any, train: Any, tmp_path: Path) -> None:
    source = pretrained("Llama")
    path = train(tmp_path, f"model={source}")
    model = AutoModelForCausalLM.from_pretrained(source).eval()
    for group in read_forests(path / "rollouts" / "step_1.jsonl"):
        for turns in group.trajectories():
            ids: list[int] = []
            for turn in turns:
                ids += turn.context.ids
                start = len(ids)
                ids += turn.action.ids
                with torch.no_grad():
                    logp = model(input_ids=torch.tensor([ids])).logits[0, start - 1 : -1].log_softmax(-1)
                said = logp.gather(1, torch.tensor(turn.action.ids)[:, None])[:, 0]
                assert turn.action.logprobs == pytest.approx(said.tolist(), abs=1e-4)


def test_bfloat16_weights_have_float32_masters(pretrained: Any, train: Any, tmp_path: Path) -> None:
    path = train(tmp_path, f"model={pretrained('Qwen2')}", "dtype=bfloat16", "engine.dtype=bfloat16")
    state = load_file(path / "checkpoints" / "step_1" / "trainer_state.tensors")
    assert {value.dtype for key, value in state.items() if key.startswith("weight|")} == {torch.float32}
    config = json.loads(Path(path / "checkpoints" / "step_1" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
