"""What retriever pyserini's config says of its index."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agentgym.retrievers.dense import Dense
from agentgym.retrievers.indexed import IndexOnDisk
from agentgym.retrievers.lucene import Lucene
from agentgym.retrievers.rows import PassageIndex, RowIndexing, make_passage_index

if TYPE_CHECKING:
    from agentgym.retrievers.pyserini import Pyserini

FORMAT = 1
"""Of the folder; an index of another one is built anew."""


def on_disk(config: Pyserini) -> IndexOnDisk:
    """Raises ConfigError where Java or a package is missing."""
    indexing: RowIndexing = Dense(config) if config.mode == "dense" else Lucene(config)
    settings = {"format": FORMAT, "mode": config.mode, "strict": config.strict, **indexing.settings}
    make = partial(make_passage_index, files=config.files, strict=config.strict, indexing=indexing)
    load = partial(PassageIndex, indexing=indexing)
    return IndexOnDisk("pyserini", config.files, config.index, settings, make, load, indexing.method)
