"""Drawing one token a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentgym.engine import Sampling


@dataclass(frozen=True, slots=True)
class Shaping:
    """What turns the model's distribution into the one drawn from, per row: temperature, top_p, top_k [n, 1].

    truncates [n, 1]: rows whose tail is cut; None when there are none."""

    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    truncates: Tensor | None

    @classmethod
    def of(cls, samplings: Sequence[Sampling], device: torch.device) -> Shaping | None:
        """None when every row draws from the model's own distribution."""
        if all(s.temperature == 1 and s.top_p == 1 and s.top_k <= 0 for s in samplings):
            return None
        truncates = [[s.top_p < 1 or s.top_k > 0] for s in samplings]
        return cls(
            temperature=torch.tensor([[s.temperature] for s in samplings], device=device),
            top_p=torch.tensor([[s.top_p] for s in samplings], device=device),
            top_k=torch.tensor([[s.top_k] for s in samplings], device=device),
            truncates=torch.tensor(truncates, device=device) if any(row[0] for row in truncates) else None,
        )


def describe(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """logits [n, vocabulary] float32 -> log-probabilities, probabilities, entropy in nats [n]."""
    logprobs = torch.log_softmax(logits, -1)
    probabilities = logprobs.exp()
    return logprobs, probabilities, -torch.linalg.vecdot(probabilities, logprobs)


def draw(logits: Tensor, uniforms: Tensor, shaping: Shaping | None) -> tuple[Tensor, Tensor, Tensor]:
    """One id a row by inverting the cumulative distribution at uniforms [n, 1] (float64, in [0, 1)).

    Returns ids [n], their log-probabilities and the entropy [n], both under the model's own distribution.
    One number decides a row, so a sequence's draws do not depend on what it is batched with.
    """
    logprobs, probabilities, entropy = describe(logits)
    ids = _invert(probabilities, uniforms) if shaping is None else _shaped(logits, uniforms, shaping)
    return ids[:, 0], logprobs.gather(1, ids)[:, 0], entropy


def _shaped(logits: Tensor, uniforms: Tensor, shaping: Shaping) -> Tensor:
    greedy = shaping.temperature == 0
    probabilities = torch.softmax(logits / shaping.temperature.masked_fill(greedy, 1.0), -1)
    drawn = _invert(probabilities, uniforms)
    if shaping.truncates is not None:
        ranked, order = probabilities.sort(stable=True, dim=-1, descending=True)
        before = ranked.cumsum(-1) - ranked
        rank = torch.arange(logits.shape[1], device=logits.device)
        dropped = (before >= shaping.top_p) & (shaping.top_p < 1)
        dropped |= (rank >= shaping.top_k) & (shaping.top_k > 0)
        kept = order.gather(1, _invert(ranked.masked_fill(dropped, 0.0), uniforms))
        drawn = torch.where(shaping.truncates, kept, drawn)
    return torch.where(greedy, logits.argmax(-1, keepdim=True), drawn)


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """[n, 1] indices: the first whose cumulative weight exceeds `uniforms` of the total."""
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    found = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True)
    return found.clamp_(max=weights.shape[1] - 1)
