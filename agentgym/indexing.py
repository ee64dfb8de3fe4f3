"""`agentgym index` builds a retriever's index, or verifies the one that is there; `agentgym search` asks it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from agentgym.config import build, names, parse_overrides, resolve
from agentgym.console import Console, clock
from agentgym.errors import UserError
from agentgym.retriever import Built, Hit, IndexedConfig, Progress, Retriever

EVERY = 10.0  # seconds between lines where no live display is possible


def index(words: Sequence[str]) -> None:
    """Words: the corpus's files, and then settings: `retriever=NAME` and its fields. Raises UserError."""
    config: IndexedConfig = retriever(words)
    if not hasattr(config, "build"):
        known = [name for name in names("retriever") if hasattr(resolve("retriever", name), "build")]
        raise UserError(f"this retriever has no index to build; these have one: {', '.join(known)}")
    console = Console()
    with _shown(console) as progress:
        built = config.build(progress)
    for line in describe(built):
        console.out.print(line, soft_wrap=True)


async def search(words: Sequence[str], k: int) -> list[Hit]:
    """The k best passages. Words: the corpus's files, the query, and settings as of `index`. Raises UserError."""
    free = _free(words)
    if not free:
        raise UserError("nothing to search for: agentgym search CORPUS QUERY")
    opened: Retriever = await retriever([*free[:-1], *words[len(free) :]]).open()
    try:
        return (await opened.search([free[-1]], k))[0]
    finally:
        await opened.close()


def _free(words: Sequence[str]) -> list[str]:
    """Those before the settings."""
    return list(takewhile(lambda word: "=" not in word and not word.startswith("-"), words))


def retriever(words: Sequence[str]) -> Any:
    """The configuration of the retriever that the words describe."""
    corpus = _free(words)
    settings = parse_overrides(words[len(corpus) :])
    given = settings.pop("retriever", "bm25s")
    spec = {"name": given} if isinstance(given, str) else {"name": "bm25s", **given}
    if corpus:
        settings["corpus"] = corpus
    return build("retriever", {**spec, **settings})


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
