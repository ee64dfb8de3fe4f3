"""A live retriever over an index of retriever pyserini, which is built first where it is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.errors import TaskError
from agentgym.retriever import Built, Hit, Progress, Retriever, Skipped
from agentgym.retrievers.corpus import Account, read_corpus
from agentgym.retrievers.dense import DenseIndex, write_vectors
from agentgym.retrievers.java import start_java
from agentgym.retrievers.lucene import LuceneIndex, write_lucene
from agentgym.retrievers.passages import StoredPassages, store

if TYPE_CHECKING:
    from agentgym.retrievers.encoder import Encoder
    from agentgym.retrievers.pyserini import Pyserini

FORMAT = 1
"""Of the folder; an index of another one is built anew."""
_TOLD = 2000  # passages between two reports of progress
