"""Whether who samples has the learner's weights: their log-probabilities beside a plain forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TOLERANCE = {"float64": 1e-3, "float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}
"""Most that a token's logprob may differ, in nats, by the learner's numbers."""


def dtype_of(model: Any) -> str:
    """The name of the model's numbers."""
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def plain_logprobs(model: Any, ids: Sequence[int]) -> Any:
    """Log-probabilities [len(ids) - 1, vocabulary] of what follows each id, by the model alone."""
    import torch

    training, attention = model.training, model.config._attn_implementation
    model.eval()
    model.config._attn_implementation = "eager"  # a learner's own wants packed rows
    try:
        with torch.no_grad():
            device = next(model.parameters()).device
            logits = model(input_ids=torch.tensor([list(ids)], device=device)).logits[0, :-1]
    finally:
        model.config._attn_implementation = attention
        model.train(training)
    return torch.log_softmax(logits.double(), -1).cpu()


def largest_difference(model: Any, ids: Sequence[int], logprobs: Sequence[float]) -> float:
    """Between the logprob that each id but the first is said to have, and the model's own; nats."""
    own = plain_logprobs(model, ids)
    return max(abs(told - float(row[i])) for told, row, i in zip(logprobs[1:], own, ids[1:], strict=True))
