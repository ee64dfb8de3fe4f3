"""An encoder's vectors, of which the nearest are found by comparing with all (faiss, as in pyserini)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.errors import ConfigError
from agentgym.retrievers.java import INSTALL
from agentgym.retrievers.manifest import fingerprint
from agentgym.retrievers.rows import Found

if TYPE_CHECKING:
    from agentgym.retrievers.encoder import Encoder
    from agentgym.retrievers.pyserini import Pyserini

VECTORS = "vectors.faiss"
_BATCH = 256  # passages encoded before they are added


class Dense:
    """See rows.RowIndexing. Raises ConfigError where faiss is missing."""

    def __init__(self, config: Pyserini) -> None:
        if find_spec("faiss") is None:
            raise ConfigError(f"retriever pyserini: mode=dense needs the package faiss: {INSTALL}")
        self._config = config
        self.method = f"vectors of {config.encoder}"

    @property
    def settings(self) -> Mapping[str, Any]:
        names = ("encoder", "pooling", "normalize", "passage_prefix", "max_length")
        weights = sorted(str(file) for file in Path(self._config.encoder).glob("*.safetensors"))
        return {"weights": fingerprint(weights), **{name: getattr(self._config, name) for name in names}}

    def write(self, folder: Path, texts: Iterable[str]) -> None:
        import faiss

        encoder = self._encoder()
        rest = iter(texts)
        index: Any = None
        while batch := list(islice(rest, _BATCH)):
            vectors = encoder.passages(batch)
            index = index or faiss.IndexFlatIP(vectors.shape[1])
            index.add(vectors)
        if index is not None:
            faiss.write_index(index, str(folder / VECTORS))

    def load(self, folder: Path) -> DenseRows:
        return DenseRows(folder, self._encoder())

    def _encoder(self) -> Encoder:
        from agentgym.retrievers.encoder import Encoder

        return Encoder(self._config)


class DenseRows:
    """See rows.Rows. The vectors are mapped into memory."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        import faiss

        self._encoder = encoder
        self._index: Any = faiss.read_index(str(folder / VECTORS), faiss.IO_FLAG_MMAP_IFC)

    def search(self, queries: list[str], k: int) -> list[list[Found]]:
        scores, rows = self._index.search(self._encoder.queries(queries), k)
        return [
            [Found(int(row), float(score)) for row, score in zip(*each, strict=True)]
            for each in zip(rows, scores, strict=True)
        ]

    def close(self) -> None:
        self._index = None
