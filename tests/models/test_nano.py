"""The built-in policy: its tokenizer, its seed, and what is left of it in a checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.models.load import load_policy
from agentgym.models.nano.build_tokenizer import build
from agentgym.opening import env_for
from agentgym.run import resolve_settings
from agentgym.runlog import read_forests

IMITATE = (
    'stages=[{name="cold_start", rollout="demonstrations", losses=["sft"],'
    ' sampler={name="uniform", drop_zero_spread=false}}]'
)
TRACE = [
    "<code>\nprint(48213*9127)\n</code>",
    "\n<interpreter>\n440040051\n</interpreter>\n",
    "\\boxed{440040051}",
]


@pytest.mark.parametrize("name", nano.TOKENIZERS)
def test_the_shipped_tokenizer_is_the_built_one(name: str) -> None:
    assert json.loads(nano.TOKENIZERS[name].read_text(encoding="utf-8")) == build(name)


@pytest.mark.parametrize("name", nano.TOKENIZERS)
def test_any_text_survives_the_tokenizer(name: str) -> None:
    tokenizer = nano.tokenizer(name)
    for text in (*TRACE, "naïve 東京 🙂\t\x00\r\n", " 007 0.10 -3"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_encoding_a_decoded_trace_gives_other_ids() -> None:
    chat = Chat(nano.tokenizer())
    ids = [i for text in TRACE for i in chat.extend(text)]
    again = list(chat.extend(chat.decode(ids)))
    assert chat.decode(again) == chat.decode(ids)
    assert again != ids


def test_the_seed_decides_the_weights() -> None:
    torch.manual_seed(5)
    first = nano.model(1).state_dict()
    torch.manual_seed(6)
    second, other = nano.model(1).state_dict(), nano.model(2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.fixture(scope="module")
def checkpoint(train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After two steps of nano on demonstrations."""
    run: Path = train(tmp_path_factory.mktemp("runs"), IMITATE, "max_steps=2")
    return run / "checkpoints" / "step_2"


def test_a_checkpoint_is_the_same_policy(checkpoint: Path) -> None:
    model, tokenizer = load_policy(str(checkpoint), seed=0)
    shipped = nano.tokenizer()
    for text in TRACE:
        assert tokenizer.encode(text) == shipped.encode(text)
    assert tokenizer.chat_template == shipped.chat_template
    assert tokenizer.all_special_tokens == shipped.all_special_tokens
    start = nano.model(0).state_dict()
    assert not torch.equal(model.state_dict()["model.norm.weight"], start["model.norm.weight"])
    settings = resolve_settings({}, [])
    prompts = [getattr(env_for(settings, m), "prompt", None) for m in (model, nano.model(0))]
    assert prompts == ["plain", "plain"]


def test_a_checkpoint_evaluates_on_the_command_line_with_the_prompt_it_was_trained_on(
    checkpoint: Path, tmp_path: Path
) -> None:
    words = ["eval", f"model={checkpoint}", "env=retool", "-n", "8", "--json", "--save", "played.jsonl"]
    words += ["max_completion_tokens=16", "device=cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "agentgym", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    assert (result["tasks"], result["episodes"], result["errors"]) == (8, 8, 0)
    assert 0 <= result["interval"][0] <= result["success"] <= result["interval"][1] <= 1
    trained_on = read_forests(checkpoint.parents[1] / "rollouts" / "step_1.jsonl")
    for group in [*trained_on, *read_forests(tmp_path / "played.jsonl")]:
        asked = f"<|im_start|>user\n{group.task.prompt}<|im_end|>\n<|im_start|>assistant\n"
        assert group.turns[0].observation == asked
