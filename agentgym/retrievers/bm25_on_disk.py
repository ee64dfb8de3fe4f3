"""What retriever bm25s's config says of its index."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agentgym.retrievers.bm25_build import Builder
from agentgym.retrievers.bm25_index import load_index
from agentgym.retrievers.indexed import IndexOnDisk

if TYPE_CHECKING:
    from agentgym.retrievers.bm25s import Bm25s

FORMAT = 1
"""Of the folder; an index of another one is built anew."""


def on_disk(config: Bm25s) -> IndexOnDisk:
    """The index of `config`."""
    names = ("strict", "k1", "b", "stemmer", "stopwords")
    settings = {"format": FORMAT, **{name: getattr(config, name) for name in names}}
    make, load = Builder(config, config.files), partial(load_index, config=config)
    return IndexOnDisk("bm25s", config.files, config.index, settings, make, load, "BM25")
