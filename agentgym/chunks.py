"""Thinking in chunks of constant context, whatever is thought in all (Delethink, arXiv 2510.06557)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.ranges import at_least


@dataclass(frozen=True, slots=True)
class Chunks:
    """How an episode is cut, in tokens.

    size: what follows the prompt, at most. Once that is full, a chunk begins whose context is the prompt, the
    first `head` tokens that ever followed it, and the latest, `carry` in all. count: most chunks of an episode.
    """

    size: int
    carry: int
    head: int = 0
    count: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.head <= self.carry:
            raise ValueError(f"head must be from 0 to carry ({self.carry}), not {self.head}")
        if not self.carry < self.size:
            raise ValueError(f"carry must be below the size of a chunk ({self.size}), not {self.carry}")
        at_least(self, 1, "count")

    @property
    def total(self) -> int:
        """Tokens that all chunks hold together, each once."""
        return self.size + (self.count - 1) * (self.size - self.carry)

    def carry_over(self, ids: Sequence[int], prompt: int) -> tuple[int, ...]:
        """What the chunk after `ids` begins with: theirs, of which the first `prompt` are the prompt's."""
        latest = len(ids) - (self.carry - self.head)
        return (*ids[: prompt + self.head], *ids[latest:])
