"""Retriever over an invented world."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.envs.worlds.world import World
from agentgym.retriever import Retriever


@dataclass(frozen=True)
class WorldIndex(World):
    """BM25 over the world's passages, in memory."""

    async def open(self) -> Retriever:
        from agentgym.envs.worlds.passages import passages
        from agentgym.retrievers.bm25s import Bm25s
        from agentgym.retrievers.memory import index_passages

        return index_passages(list(passages(self)), Bm25s())
