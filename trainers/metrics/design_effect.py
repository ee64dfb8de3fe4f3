"""How many independent trials several samples of each task are worth."""

from __future__ import annotations

from collections.abc import Sequence


def effective_trials(counts: Sequence[tuple[int, int]]) -> float:
    """Trials over the design effect (Kish 1965; for evaluations, arXiv 2411.00640), never fewer than tasks.

    counts: (samples, successes) of each task. Samples of a task tend to go alike: four of each of 100 tasks say
    less than one of each of 400, and no more than one of each of 100 where all four go alike.
    """
    trials, successes = sum(n for n, _ in counts), sum(c for _, c in counts)
    rate = successes / trials
    independent = trials * rate * (1 - rate)
    if not independent:  # all went alike, which cannot be told from tasks that decide everything
        return len(counts)
    clustered = sum((c - n * rate) ** 2 for n, c in counts)
    return min(trials, max(len(counts), trials * independent / clustered)) if clustered else trials
