"""How per-token losses become one number: a weight for each token, fixed before any micro-batch is cut."""

from __future__ import annotations

from collections.abc import Sequence

from agentgym.trainers.base import Reduction


def token_weights(
    lengths: Sequence[int], weights: Sequence[float], reduction: Reduction, constant_length: int | None = None
) -> list[float]:
    """For each sequence, what each of its tokens weighs; the loss is the weighted sum over all tokens.

    lengths: trained tokens of every sequence of the global batch. weights: the sequences' relative weights.
    token_mean: w_i / sum_j w_j len_j, every token counts alike (DAPO, arXiv 2503.14476).
    sequence_mean: w_i / (len_i sum_j w_j), every sequence counts alike (GRPO, arXiv 2402.03300).
    constant: w_i / (constant_length sum_j w_j), so length has no say (Dr. GRPO, arXiv 2503.20783).
    Sequences without tokens do not count. Raises ValueError when nothing has weight.
    """
    if len(lengths) != len(weights):
        raise ValueError(f"{len(lengths)} lengths but {len(weights)} weights; one per sequence is needed")
    kept = [weight if length else 0.0 for length, weight in zip(lengths, weights, strict=True)]
    total = sum(kept)
    if total <= 0:
        raise ValueError(f"nothing to average: no sequence out of {len(lengths)} has tokens and a positive weight")
    if reduction == "token_mean":
        tokens = sum(weight * length for length, weight in zip(lengths, kept, strict=True))
        return [weight / tokens for weight in kept]
    if reduction == "sequence_mean":
        return [weight / (total * max(length, 1)) for length, weight in zip(lengths, kept, strict=True)]
    if constant_length is None or constant_length < 1:
        raise ValueError(f"reduction 'constant' needs a constant_length of at least 1, not {constant_length}")
    return [weight / (total * constant_length) for weight in kept]
