"""`agentgym index`: builds a retriever's index, or verifies the one that is there, and shows it being done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from agentgym.config import build, names, parse_overrides, resolve
from agentgym.console import Console, clock
from agentgym.errors import UserError
from agentgym.retriever import Built, IndexedConfig, Progress

EVERY = 10.0  # seconds between lines where no live display is possible


def index(words: Sequence[str]) -> None:
    """Words: the corpus's files, and then settings: `retriever=NAME` and its fields. Raises UserError."""
    config = retriever(words)
    console = Console()
    with _shown(console) as progress:
        built = config.build(progress)
    for line in describe(built):
        console.out.print(line, soft_wrap=True)


def retriever(words: Sequence[str]) -> IndexedConfig:
    """The retriever that the words describe."""
    corpus = list(takewhile(lambda word: "=" not in word and not word.startswith("-"), words))
    settings = parse_overrides(words[len(corpus) :])
    given = settings.pop("retriever", "bm25s")
    spec = {"name": given} if isinstance(given, str) else {"name": "bm25s", **given}
    if corpus:
        settings["corpus"] = corpus
    config: IndexedConfig = build("retriever", {**spec, **settings})
    if not hasattr(config, "build"):
        known = [name for name in names("retriever") if hasattr(resolve("retriever", name), "build")]
        raise UserError(f"retriever {spec['name']!r} has no index to build; these have one: {', '.join(known)}")
    return config


def describe(built: Built) -> Iterator[str]:
    """What was found, in lines."""
    done = f"built in {clock(built.seconds)}" if built.fresh else "whole, as it was built"
    yield f"index {built.folder}: {built.passages:,} passages, {built.size / 1e6:,.1f} MB, {done}"
    for reason, skipped in built.skipped.items():
        yield f"left out {skipped.count:,} rows: {reason}"
        yield from (f"  {example}" for example in skipped.examples)


@contextmanager
def _shown(console: Console) -> Iterator[Progress]:
    """Progress on a terminal in place, elsewhere as a line now and then."""
    if console.live:
        with _live(console) as progress:
            yield progress
        return
    told: dict[str, Any] = {"doing": "", "at": 0.0}

    def tell(doing: str, done: int) -> None:
        if doing != told["doing"] or time.monotonic() > told["at"] + EVERY:
            told.update(doing=doing, at=time.monotonic())
            console.out.print(f"{doing}: {done:,} passages" if done else doing, soft_wrap=True)

    yield tell


@contextmanager
def _live(console: Console) -> Iterator[Progress]:
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f} passages"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console.out, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda doing, done: bar.update(task, description=doing, completed=done)
