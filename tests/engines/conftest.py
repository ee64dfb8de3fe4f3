"""Small random models and a byte-level BPE for the engines' tests; those without models load none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SIZES = {
    "vocab_size": 400,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "attn_implementation": "eager",
}
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 16},
    "Mistral": {"sliding_window": None},
    "Olmo2": {},
    "GPTNeoX": {"rotary_pct": 0.5},
    "Phi": {"partial_rotary_factor": 0.5},
}


def _build(family: str, **changes: Any) -> Any:
    import torch
    import transformers

    config = getattr(transformers, f"{family}Config")(**{**SIZES, **FAMILIES.get(family, {}), **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():  # sharper than the default, so that distributions differ
            parameter.add_(torch.randn_like(parameter) * 0.08)
    model.generation_config.eos_token_id = None
    return model.eval()


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """`build("Qwen3", vocab_size=20)`: a random model of a family."""
    return _build


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level BPE of 400 tokens with `<|end|>` as its end-of-turn token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    text = ["print the answer and stop </code> then say naïve café, 東京 and 🙂 again", "</code> </answer>"] * 3
    trainer = trainers.BpeTrainer(
        vocab_size=399, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")
