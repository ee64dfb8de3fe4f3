"""Which memories fit a text best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agentgym.envs.memory_bank import Memory
from agentgym.retriever import Passage, Retriever
from agentgym.services import Services

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT = 65536
"""Vectors of memories that are remembered in a run."""


@dataclass(frozen=True)
class MemoryEncoder:
    """Ranks by the dot products of an encoder's vectors. model: a Hugging Face model or its folder."""

    model: str

    async def open(self) -> LiveEncoder:
        """Raises ConfigError for a model that cannot be loaded."""
        import asyncio

        return await asyncio.to_thread(LiveEncoder, self.model)


class LiveEncoder:
    """The live encoder, shared by all episodes of a run."""

    def __init__(self, model: str) -> None:
        from agentgym.retrievers.encoder import Encoder
        from agentgym.retrievers.pyserini import Pyserini

        self._encoder = Encoder(Pyserini(mode="dense", encoder=model))
        self._vectors: dict[str, NDArray[np.float32]] = {}

    async def order(self, query: str, texts: Sequence[str]) -> list[int]:
        """Numbers of the texts, the best first."""
        import asyncio

        return await asyncio.to_thread(self._order, query, texts)

    def _order(self, query: str, texts: Sequence[str]) -> list[int]:
        import numpy as np

        new = list(dict.fromkeys(text for text in texts if text not in self._vectors))
        found = dict(zip(new, self._encoder.passages(new), strict=True)) if new else {}
        vectors = np.stack([found[text] if text in found else self._vectors[text] for text in texts])
        if len(self._vectors) + len(found) > KEPT:
            self._vectors = {}
        self._vectors = {**self._vectors, **found}
        scores: Any = vectors @ self._encoder.queries([query])[0]
        return [int(i) for i in np.argsort(-scores, kind="stable")]

    async def close(self) -> None:
        """Nothing is held but memory."""


async def related(
    query: str, memories: Sequence[Memory], k: int, encoder: str, services: Services
) -> list[Memory]:
    """The best `k` memories for a query, the best first: by BM25, or by an encoder where one is named. Then, where
    fewer have anything in common with it, the latest of the others."""
    if len(memories) < 2:
        return list(memories)
    texts = [memory.line() for memory in memories]
    if encoder:
        live = await services.get(MemoryEncoder(encoder))
        order = await live.order(query, texts)
    else:
        order = await _bm25(query, texts, k)
    ranked = dict.fromkeys([*order, *reversed(range(len(memories)))])
    return [memories[number] for number in ranked][:k]


async def _bm25(query: str, texts: Sequence[str], k: int) -> list[int]:
    return [int(hit.passage.id) for hit in (await _index(tuple(texts)).search([query], k))[0]]


@lru_cache(maxsize=64)
def _index(texts: tuple[str, ...]) -> Retriever:
    """One index for all that is asked of the same memories."""
    from agentgym.retrievers.bm25s import Bm25s
    from agentgym.retrievers.memory import index_passages

    return index_passages([Passage(str(number), "", text) for number, text in enumerate(texts)], Bm25s())
