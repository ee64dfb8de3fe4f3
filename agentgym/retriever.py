"""The retriever contract: the passages of a corpus that fit a query best."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that can be found. id: its own in the corpus. more: other fields of its row."""

    id: str
    title: str
    text: str
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def searched(self) -> str:
        """What queries are compared with."""
        return f"{self.title}\n{self.text}"


class Hit(NamedTuple):
    """A passage that was found. score: higher is better, and comparable within one query only."""

    passage: Passage
    score: float


@dataclass(slots=True)
class Skipped:
    """Rows of a corpus left out for one reason. examples: `file:line: what is wrong`, of the first few."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Built:
    """An index on disk. fresh: it was built just now, in `seconds`. size: bytes. skipped: by reason."""

    folder: Path
    passages: int
    skipped: Mapping[str, Skipped]
    size: int
    fresh: bool
    seconds: float


Progress = Callable[[str, int], None]
"""Is told what is being done and how many passages are done. What it raises ends the building, to be resumed."""


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


class IndexedConfig(RetrieverConfig, Protocol):
    """The config of a retriever with an index on disk, which `agentgym index` builds."""

    def build(self, progress: Progress) -> Built:
        """Build the index, or check the one that is there; blocks. Goes on where a builder was interrupted, and
        waits for one that is at work.

        Raises ConfigError or TaskError for a corpus that cannot be read or a folder that cannot hold an index.
        """
        ...
