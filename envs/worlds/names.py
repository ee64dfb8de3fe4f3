"""Names that nobody has heard, each of its kind once in a world."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal

Kind = Literal["person", "town", "country", "work", "event"]

SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvwyz" for vowel in "aeiou"]
SHORT_NAMES = ["".join(letters) for letters in product("BDFGHJKLMNPRSTVWYZ", "aeiou", "klnrs")]
"""For databases and conversations: each is one token of `nano-sql` and of `nano-memory`."""
WORKS = ("Song", "Tale", "Book")
EVENTS = ("Battle", "Games", "Feast")
FEWEST: dict[Kind, int] = {"person": 4, "town": 2, "country": 2, "work": 2, "event": 2}
"""Syllables of a name, in worlds of ordinary size."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one kind in the world of `seed`. count: how many there are, which decides how long they are."""

    seed: int
    kind: Kind
    count: int

    @property
    def syllables(self) -> int:
        """So many that no more than one in ten of the possible names is taken."""
        needed = math.ceil(math.log(max(self.count, 1) * 10, len(SYLLABLES)))
        return max(FEWEST[self.kind], needed)

    @property
    def size(self) -> int:
        """How many names of this length there are."""
        size: int = len(SYLLABLES) ** self.syllables
        return size

    def __getitem__(self, index: int) -> str:
        """The name of number `index`, which may be beyond `count`; different for every index. Raises IndexError
        where there are no more."""
        if not 0 <= index < self.size:
            raise IndexError(f"there are {self.size} names of {self.syllables} syllables, and no number {index}")
        step, first, _ = _shuffle(self.seed, self.kind, self.size)
        return self._dressed((index * step + first) % self.size, index)

    def namesake(self, index: int, rng: random.Random) -> str:
        """A name that nobody of the first `count` bears, and that differs from number `index`'s in its last
        syllable."""
        step, first, back = _shuffle(self.seed, self.kind, self.size)
        code = (index * step + first) % self.size
        last = self.size // len(SYLLABLES)
        while True:
            other = code % last + rng.randrange(len(SYLLABLES)) * last
            if (other - first) * back % self.size >= self.count:
                return self._dressed(other, index)

    def _dressed(self, code: int, index: int) -> str:
        parts = []
        for _ in range(self.syllables):
            code, digit = divmod(code, len(SYLLABLES))
            parts.append(SYLLABLES[digit])
        word = "".join(parts).capitalize()
        match self.kind:
            case "person":
                half = len(parts) // 2
                return f"{''.join(parts[:half]).capitalize()} {''.join(parts[half:]).capitalize()}"
            case "country":
                return f"{word}land"
            case "work":
                return f"{WORKS[index % 3]} of {word}"
            case "event":
                return f"{EVENTS[index % 3]} of {word}"
        return word


@lru_cache(maxsize=256)
def _shuffle(seed: int, kind: Kind, size: int) -> tuple[int, int, int]:
    """Step and offset of a permutation of the numbers below `size`, and what undoes the step."""
    rng = random.Random(f"{seed} {kind}")
    step = next(n for n in iter(lambda: rng.randrange(1, size), None) if math.gcd(n, size) == 1)
    return step, rng.randrange(size), pow(step, -1, size)
