"""pass@k."""

from __future__ import annotations

from math import comb


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Chance that at least one of k samples, drawn without replacement from `samples` of which `correct` are
    right, is right: 1 - C(n - c, k) / C(n, k), unbiased (arXiv 2107.03374). Raises ValueError if k > samples.
    """
    if not 0 <= correct <= samples:
        raise ValueError(f"correct must be in [0, samples = {samples}], not {correct}")
    if not 1 <= k <= samples:
        raise ValueError(f"k must be in [1, samples = {samples}], not {k}")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)
