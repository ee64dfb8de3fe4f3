"""Retriever over an invented world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from agentgym.envs.worlds.world import World
from agentgym.retriever import Hit, Retriever

KEPT = 64
"""Indexes in memory at a time: a run sees thousands of worlds, and few of them at once."""


@dataclass(frozen=True)
class WorldIndex(World):
    """BM25 over the world's passages, in memory. An index that was not used for long is made again when it is."""

    async def open(self) -> Retriever:
        return LiveWorld(self)


class LiveWorld:
    """The live retriever."""

    def __init__(self, world: WorldIndex) -> None:
        self._world = world
        self.description = f"BM25 over the {world.passages:,} passages of world {world.seed}"

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """See Retriever.search."""
        return await _index(self._world).search(queries, k)

    async def close(self) -> None:
        """Nothing is held but memory."""


@lru_cache(maxsize=KEPT)
def _index(world: WorldIndex) -> Retriever:
    from agentgym.envs.worlds.passages import passages
    from agentgym.retrievers.bm25s import Bm25s
    from agentgym.retrievers.memory import index_passages

    return index_passages(list(passages(world)), Bm25s())
