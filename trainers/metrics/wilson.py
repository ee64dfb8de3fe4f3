"""A confidence interval for a success rate."""

from __future__ import annotations

from math import sqrt


def wilson(successes: float, trials: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval: the rates p with |successes / trials - p| <= z sqrt(p (1 - p) / trials).

    trials: as many as are independent (`effective_trials`), with the successes among them.

    z = 1.96 is 95% confidence. Unlike the normal approximation it holds near 0 and 1 and for few trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"need 0 <= successes <= trials and a trial, not {successes} of {trials}")
    rate, shrink = successes / trials, 1 + z**2 / trials
    centre = (rate + z**2 / (2 * trials)) / shrink
    half = z * sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)
