"""Random numbers that survive a checkpoint."""

from __future__ import annotations

import random
from typing import Any


def rng_state(rng: random.Random) -> list[Any]:
    """Where the random numbers are, as values JSON can hold."""
    version, internal, gauss = rng.getstate()
    return [version, list(internal), gauss]


def set_rng_state(rng: random.Random, state: list[Any]) -> None:
    """Go on where `rng_state` was."""
    version, internal, gauss = state
    rng.setstate((version, tuple(internal), gauss))
