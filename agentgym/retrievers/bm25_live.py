"""A live retriever over an index on disk, which is built first where it is missing."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agentgym.errors import ConfigError, ToolFailed
from agentgym.retriever import Built, Hit, Progress, Retriever
from agentgym.retrievers.batcher import Batcher
from agentgym.retrievers.bm25_build import Builder
from agentgym.retrievers.bm25_index import Bm25Index, load_index
from agentgym.retrievers.corpus import check_files
from agentgym.retrievers.folder import default_folder, ensure
from agentgym.retrievers.manifest import REMEDY, fingerprint, verify

if TYPE_CHECKING:
    from agentgym.retrievers.bm25s import Bm25s

FORMAT = 1
"""Of the folder; an index of another one is built anew."""

_EVERY = 15.0  # seconds between two lines about an index that a run waits for
_log = logging.getLogger(__name__)


def build(config: Bm25s, progress: Progress) -> Built:
    """The index of `config`, built, or found and verified."""
    built = find(config, progress)
    if not built.fresh:
        verify(built.folder, progress)
    return built


def find(config: Bm25s, progress: Progress) -> Built:
    """The index of `config`, which is built where it is missing."""
    if not config.files:
        raise ConfigError("retriever bm25s: no corpus is given; name its file or files with corpus=")
    check_files(config.files)
    plan = {
        "retriever": "bm25s",
        "format": FORMAT,
        "corpus": fingerprint(config.files),
        **{name: getattr(config, name) for name in ("strict", "k1", "b", "stemmer", "stopwords")},
    }
    folder = (
        Path(config.index).expanduser()
        if config.index
        else default_folder(plan, f"bm25s-{Path(config.files[0]).stem}")
    )
    return ensure(folder, plan, Builder(config, config.files), progress)


async def open_live(config: Bm25s) -> Retriever:
    """Build in a thread, which ends when this is cancelled."""
    ended = threading.Event()
    told = time.monotonic()

    def progress(doing: str, done: int) -> None:
        nonlocal told
        if ended.is_set():
            raise asyncio.CancelledError
        if time.monotonic() > told + _EVERY:
            told = time.monotonic()
            _log.info("retriever bm25s: %s: %s passages", doing, f"{done:,}")

    try:
        return await asyncio.to_thread(_open, config, progress)
    finally:
        ended.set()


def _open(config: Bm25s, progress: Progress) -> Retriever:
    built = find(config, progress)
    if built.fresh:
        _log.info("indexed %s passages in %.0f s: %s", f"{built.passages:,}", built.seconds, built.folder)
        for reason, skipped in built.skipped.items():
            _log.warning("%s rows left out: %s: %s", f"{skipped.count:,}", reason, "; ".join(skipped.examples))
    return Live(load_index(built.folder, config), built.folder)


class Live:
    """Searches in a thread of its own."""

    def __init__(self, index: Bm25Index, folder: Path) -> None:
        self._index, self._folder = index, folder
        self._batcher = Batcher(self._search)

    @property
    def description(self) -> str:
        return f"BM25 over {len(self._index.passages):,} passages, index {self._folder}"

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """See Retriever.search."""
        return await self._batcher.search(queries, k)

    async def close(self) -> None:
        """Let a search that runs end; may be called twice."""
        await self._batcher.close()
        self._index.close()

    def _search(self, queries: list[str], k: int) -> list[list[Hit]]:
        try:
            return self._index.search(queries, k)
        except (IndexError, ValueError, msgspec.DecodeError) as error:
            raise ToolFailed(f"index {self._folder}: damaged: {error}; {REMEDY}") from error
