"""Retrievers with an index on disk: built first where it is missing, then searched in a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from agentgym.errors import ConfigError, ToolFailed
from agentgym.retriever import Built, Hit, Progress, Retriever
from agentgym.retrievers.batcher import Batcher
from agentgym.retrievers.corpus import check_files
from agentgym.retrievers.folder import Make, default_folder, ensure
from agentgym.retrievers.manifest import REMEDY, fingerprint, verify

_EVERY = 15.0  # seconds between two lines about an index that a run waits for
_log = logging.getLogger(__name__)


class Index(Protocol):
    """An open index, for one thread at a time. Raises IndexError, ValueError or DecodeError where damaged."""

    def __len__(self) -> int:
        """Its passages."""
        ...

    def search(self, queries: list[str], k: int) -> list[list[Hit]]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class IndexOnDisk:
    """What a retriever's config says of its index.

    retriever: its name. files: of the corpus. folder: where the index is to be; empty for one in the user's cache
    directory. settings: all else that decides what is in it. make, load: write it and open it. method: how it is
    searched, in a word.
    """

    retriever: str
    files: Sequence[str]
    folder: str
    settings: Mapping[str, Any]
    make: Make
    load: Callable[[Path], Index]
    method: str

    def build(self, progress: Progress) -> Built:
        """The index, built, or found and verified."""
        built = self._find(progress)
        if not built.fresh:
            verify(built.folder, progress)
        return built

    async def open(self) -> Retriever:
        """The live retriever. The index is built in a thread, which ends when this is cancelled."""
        ended = threading.Event()
        told = time.monotonic()

        def progress(doing: str, done: int) -> None:
            nonlocal told
            if ended.is_set():
                raise asyncio.CancelledError
            if time.monotonic() > told + _EVERY:
                told = time.monotonic()
                _log.info("retriever %s: %s: %s passages", self.retriever, doing, f"{done:,}")

        try:
            return await asyncio.to_thread(self._open, progress)
        finally:
            ended.set()

    def _find(self, progress: Progress) -> Built:
        if not self.files:
            raise ConfigError(
                f"retriever {self.retriever}: no corpus is given: set its corpus= to a file or several, as in "
                "retriever.corpus=FILE.jsonl (env.retriever.corpus= for an environment, "
                "tool.retriever.corpus= for a tool)"
            )
        check_files(self.files)
        plan = {"retriever": self.retriever, "corpus": fingerprint(self.files), **self.settings}
        name = f"{self.retriever}-{Path(self.files[0]).stem}"
        folder = Path(self.folder).expanduser() if self.folder else default_folder(plan, name)
        return ensure(folder, plan, self.make, progress)

    def _open(self, progress: Progress) -> Retriever:
        built = self._find(progress)
        if built.fresh:
            _log.info("indexed %s passages in %.0f s: %s", f"{built.passages:,}", built.seconds, built.folder)
            for reason, skipped in built.skipped.items():
                _log.warning("%s rows left out: %s: %s", f"{skipped.count:,}", reason, "; ".join(skipped.examples))
        index = self.load(built.folder)
        return _Live(index, built.folder, f"{self.method} over {len(index):,} passages, index {built.folder}")


class _Live:
    """Searches in a thread of its own."""

    def __init__(self, index: Index, folder: Path, description: str) -> None:
        self._index, self._folder, self.description = index, folder, description
        self._batcher = Batcher(self._search)
        self._closed = False

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """See Retriever.search."""
        return await self._batcher.search(queries, k)

    async def close(self) -> None:
        """Let a search that runs end; may be called twice."""
        await self._batcher.close()
        if not self._closed:
            self._closed = True
            self._index.close()

    def _search(self, queries: list[str], k: int) -> list[list[Hit]]:
        try:
            return self._index.search(queries, k)
        except (IndexError, ValueError, msgspec.DecodeError) as error:
            raise ToolFailed(f"index {self._folder}: damaged: {error}; {REMEDY}") from error
