"""What every engine makes sure of before it samples: prompts that fit, and the ids that end a turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentgym.engine import Sampling
from agentgym.errors import EngineError
from agentgym.models.template import Template

UNTOLD = 32768
"""Tokens of a sequence where neither the settings nor the model's configuration says how many."""


def checked_ids(ids: Sequence[int], vocab_size: int) -> list[int]:
    """The prompt as a list. Raises EngineError for an empty one and for ids that the model does not know."""
    prompt = list(ids)
    if not prompt:
        raise EngineError("no token ids: the prompt is empty")
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        wrong = next(i for i in prompt if not 0 <= i < vocab_size)
        raise EngineError(f"token id {wrong} is outside of the model's vocabulary of {vocab_size}")
    return prompt


def longest(model: Any, wanted: int | None) -> int:
    """Tokens that a sequence may have: the model's own limit, or fewer where fewer are wanted."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or wanted or UNTOLD
    return min(wanted or limit, limit)


def sample_limit(prompt: int, sampling: Sampling, max_len: int) -> int:
    """Tokens that may be sampled after a prompt of this length. Raises EngineError when there is no room for one,
    and when prompt and sample could pass the window."""
    if sampling.window is not None and prompt + sampling.max_tokens > sampling.window:
        raise EngineError(
            f"the prompt has {prompt} tokens and {sampling.max_tokens} more are wanted: more than the window of "
            f"{sampling.window}"
        )
    if prompt >= max_len:
        raise EngineError(f"the prompt has {prompt} tokens and max_len is {max_len}: no room for a sample")
    return min(sampling.max_tokens, max_len - prompt)


def eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """What ends a turn: the tokenizer's end-of-sequence id, those of the model's generation config, and what the
    chat template ends the assistant's messages with, which may be neither."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    ends = (*listed, tokenizer.eos_token_id, Template(tokenizer).end)
    return frozenset(i for i in ends if i is not None)
