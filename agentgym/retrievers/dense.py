"""An index of vectors, of which the nearest are found by comparing with all of them (faiss, as pyserini does it)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.errors import ConfigError
from agentgym.retrievers.lucene import Found

if TYPE_CHECKING:
    from agentgym.retrievers.encoder import Encoder

VECTORS = "vectors.faiss"
_BATCH = 256  # passages encoded between two reports of progress


def write_vectors(folder: Path, texts: Iterable[str], encoder: Encoder) -> None:
    """Index texts, numbered from 0."""
    faiss = _faiss()
    rest = iter(texts)
    index: Any = None
    while batch := list(islice(rest, _BATCH)):
        vectors = encoder.passages(batch)
        index = index or faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
    if index is not None:
        faiss.write_index(index, str(folder / VECTORS))


class DenseIndex:
    """An index made by `write_vectors`, mapped into memory."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        faiss = _faiss()
        self._index = faiss.read_index(str(folder / VECTORS), faiss.IO_FLAG_MMAP_IFC)
        self._encoder = encoder

    def search(self, queries: list[str], k: int) -> list[list[Found]]:
        """The best `k` of each query, best first."""
        scores, rows = self._index.search(self._encoder.queries(queries), min(k, self._index.ntotal))
        return [
            [Found(int(row), float(score)) for row, score in zip(*pair, strict=True)]
            for pair in zip(rows, scores, strict=True)
        ]

    def close(self) -> None:
        """Unmap the vectors."""
        del self._index


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "retriever pyserini: mode=dense needs faiss: pip install 'agentgym[pyserini]'"
        ) from error
    return faiss
