"""The tree of a Monte-Carlo tree search: what a node is worth, and how an outcome reaches those above it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

from agentgym.types import Tokens, Turn


@dataclass(eq=False)
class Node:
    """One policy turn and the state of the world after it; the root, whose turn is empty, is the prompt.

    is_open: not expanded, and its world goes on. q: what was backed up to it; that of an end is 1 or -1.
    entropy: mean over the turn's tokens, nats. visits: 1 for having been made, and 1 for every outcome backed up.
    """

    parent: Node | None = None
    turn: Turn = field(default_factory=lambda: Turn(None, Tokens(()), Tokens(())))
    is_open: bool = True
    q: float = 0.0
    entropy: float = 0.0
    visits: int = 1
    children: list[Node] = field(default_factory=list)
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        self.depth = self.parent.depth + 1 if self.parent else 0

    @property
    def quality(self) -> float:
        """Q, the mean of what was backed up."""
        return self.q / self.visits

    @property
    def is_alive(self) -> bool:
        """Whether there is something to expand from here on."""
        return self.is_open or any(child.is_alive for child in self.children)

    def ancestors(self) -> Iterator[Node]:
        """From its parent to the root."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def surprise(self) -> float:
        """Mean -logprob of the tokens that led here: low where the policy was confident."""
        path = (self, *self.ancestors())
        return -fmean([value for node in path for value in node.turn.action.logprobs or ()] or [0.0])


def back_up(end: Node, floor: float) -> None:
    """Add an end's q to those above it, times max(i / l, floor) for the i-th of l turns.

    A positive value replaces a negative one, and no negative one lowers a positive.
    """
    for node in end.ancestors():
        share = max(node.depth / end.depth, floor) * end.q
        if node.q * share >= 0:
            node.q += share
        elif share > 0:
            node.q = share
        node.visits += 1
