"""Small pretrained models as a user would have them on disk, and runs of the trainer without a console."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from agentgym import run
from agentgym.config import parse_overrides

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENTROPY = (  # rewards of a random model are all alike, so a bonus gives the gradient
    'stages.rl.losses=[{name="ppo_clip"}, {name="kl", coef=0.04}, {name="entropy_bonus", coef=0.1}]'
)

Pretrained = Callable[[str], Path]
Train = Callable[..., Path]


class Quiet:
    """A Reporter that says nothing."""

    def watch(self, *managers: Any) -> None: ...

    def stage(self, stage: Any, steps: int, done: int) -> None: ...

    def step(self, step: int, metrics: dict[str, Any]) -> None: ...

    def evaluated(self, name: str, step: int, result: Any) -> None: ...


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """One token a byte, and ChatML."""
    alphabet = SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Pretrained:
    """`pretrained("Llama")`: a folder with a random model of the family and the byte-level tokenizer."""

    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        config = getattr(transformers, f"{family}Config")(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
        torch.manual_seed(0)
        getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def launch(folder: Path, *words: str) -> Path:
    small = ["env=retool", "recipe=grpo", "max_steps=1", "batch_size=2", "group_size=2", "eval_tasks=2"]
    small += ["max_completion_tokens=16", "lr=1e-3", "deterministic=true", "device=cpu"]
    small += [f"output_dir={folder}", "run_name=run"]
    if not any(word.startswith("stages=") for word in words):
        small += ["stages.rl.sampler.drop_zero_spread=false", ENTROPY]
    settings = run.resolve_settings(parse_overrides([*small, *words]), [])
    return asyncio.run(run.train(settings, Quiet()))[0]


@pytest.fixture(scope="session")
def train() -> Train:
    """`train(folder, "model=...", ...)`: a small run below the folder; its directory."""
    return launch
