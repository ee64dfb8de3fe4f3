"""Gymnasium spaces for what a language model reads and writes. Imports gymnasium, so it is imported late."""

from __future__ import annotations

import string
from typing import Any

from gymnasium.spaces import Text

MAX_LENGTH = 1_000_000


class AnyText(Text):
    """Every string of at most `MAX_LENGTH` characters. Samples are short and printable ASCII."""

    def __init__(self) -> None:
        super().__init__(max_length=MAX_LENGTH, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        if mask is None and probability is None:
            mask = (int(self.np_random.integers(0, 64)), None)
        return super().sample(mask, probability)
