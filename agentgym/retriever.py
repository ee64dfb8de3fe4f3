"""The retriever contract: the passages of a corpus that fit a query best."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that can be found. id: its own in the corpus. more: other fields of its row."""

    id: str
    title: str
    text: str
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Hit(NamedTuple):
    """A passage that was found. score: higher is better, and comparable within one query only."""

    passage: Passage
    score: float


class Retriever(Protocol):
    """A live retriever, shared by all episodes of a run."""

    @property
    def description(self) -> str:
        """What is searched by what, in a line."""
        ...

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` passages for each query, best first; fewer where fewer have anything in common with it.

        Raises ToolFailed when it cannot be searched. Whoever calls sets the deadline.
        """
        ...

    async def close(self) -> None:
        """Free what it holds; may be called twice."""
        ...


class RetrieverConfig(Hashable, Protocol):
    """A frozen dataclass in `agentgym/retrievers/`."""

    async def open(self) -> Retriever:
        """Raises ConfigError or TaskError for a corpus that cannot be read, ToolFailed for a server that does not
        answer."""
        ...
