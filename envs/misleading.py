"""A search that leads astray with a known probability, in a world whose passages say which of them do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.envs.worlds.passages import MISLEADING
from agentgym.tools.search import Search

if TYPE_CHECKING:
    from agentgym.retriever import Passage, Retriever
    from agentgym.tool import ToolContext

AMONG = 16
"""How far down the ranking is looked for passages of the wanted kind, for each that is shown."""


@dataclass(eq=False)
class MisleadingSearch(Search):
    """share: of the searches; they show nothing but passages that lead astray, and all others none of those."""

    share: float = 0.5

    async def look(self, retriever: Retriever, query: str, context: ToolContext) -> list[Passage]:
        astray = context.rng.random() < self.share
        [hits] = await retriever.search([query], self.k * AMONG)
        fitting = [hit.passage for hit in hits if (hit.passage.more.get("kind") in MISLEADING) == astray]
        return fitting[: self.k]
