"""Indexes that find rows, and the passages that stand in these rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from agentgym.errors import ConfigError
from agentgym.retriever import Hit, Progress, Skipped
from agentgym.retrievers.corpus import Account, read_corpus
from agentgym.retrievers.manifest import REMEDY
from agentgym.retrievers.passages import StoredPassages, store

_TOLD = 256  # passages between two reports of progress


class Found(NamedTuple):
    """A passage, as the number of its row, and its score."""

    row: int
    score: float


class Rows(Protocol):
    """An open index of texts that are numbered from 0."""

    def search(self, queries: list[str], k: int) -> list[list[Found]]:
        """The best `k` of each query, best first."""
        ...

    def close(self) -> None: ...


class RowIndexing(Protocol):
    """How texts are indexed. method: how they are searched, in a word. settings: that the index depends on."""

    @property
    def method(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def write(self, folder: Path, texts: Iterable[str]) -> None:
        """Index texts in a folder; of an interrupted call it may hold files. Blocks."""
        ...

    def load(self, folder: Path) -> Rows:
        """Open what was written there. Blocks."""
        ...


class PassageIndex:
    """See indexed.Index."""

    def __init__(self, folder: Path, indexing: RowIndexing) -> None:
        try:
            self._passages = StoredPassages(folder)
        except (OSError, ValueError) as error:
            raise ConfigError(f"index {folder}: damaged: {error}; {REMEDY}") from error
        try:
            self._rows = indexing.load(folder)
        except BaseException:
            self._passages.close()
            raise

    def __len__(self) -> int:
        return len(self._passages)

    def search(self, queries: list[str], k: int) -> list[list[Hit]]:
        found = self._rows.search(queries, min(k, len(self)))
        return [[Hit(self._passages[row], score) for row, score in each] for each in found]

    def close(self) -> None:
        self._rows.close()
        self._passages.close()


def make_passage_index(
    draft: Path, progress: Progress, files: Sequence[str], strict: bool, indexing: RowIndexing
) -> tuple[int, Mapping[str, Skipped]]:
    """See folder.Make. Begins anew where it was interrupted. Raises TaskError for a corpus without passages."""
    account = Account()

    def texts() -> Iterator[str]:
        for number, passage in enumerate(store(draft, read_corpus(files, account, strict))):
            if number % _TOLD == 0:
                progress("indexing", number)
            yield passage.searched

    indexing.write(draft, texts())
    account.check(files)
    return account.passages, account.skipped
