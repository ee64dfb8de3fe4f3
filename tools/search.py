"""Tool `search`: passages of a corpus that fit a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from agentgym.config import Spec, build
from agentgym.ranges import above
from agentgym.retriever import Passage, Retriever, RetrieverConfig
from agentgym.tool import Limits, ToolContext

NOTHING = "(nothing was found)"


@dataclass(eq=False)
class Search:
    """retriever: what is searched by what. k: passages a search gives. timeout: seconds a search may take.
    max_tokens: of what a policy sees of it.

    found: the passages that each search of the episode gave.
    """

    examples: ClassVar = [{"query": query} for query in ("river", "who won the war", "")]

    retriever: Spec = "bm25s"
    k: int = 3
    timeout: float = 90.0
    max_tokens: int = 512
    found: list[list[Passage]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        above(self, 0, "k", "timeout", "max_tokens")
        self._config: RetrieverConfig = build("retriever", self.retriever)

    @property
    def limits(self) -> Limits:
        return Limits(timeout=self.timeout, max_tokens=self.max_tokens)

    async def __call__(self, query: str, context: ToolContext) -> str:
        """Search for passages of text.

        Args:
            query: What to look for, in a few words.
        """
        retriever: Retriever = await context.services.get(self._config)
        passages = await self.look(retriever, query, context)
        self.found.append(passages)
        return render(passages)

    async def look(self, retriever: Retriever, query: str, context: ToolContext) -> list[Passage]:
        """What the policy is shown."""
        [hits] = await retriever.search([query], self.k)
        return [hit.passage for hit in hits]

    async def fork(self) -> Search:
        twin = replace(self)
        twin.found = list(self.found)
        return twin


def render(passages: Sequence[Passage]) -> str:
    """Passages as Search-R1 (arXiv 2503.09516) shows them; `Doc 1: ...` where there is no title."""
    titles = (f"(Title: {p.title})" if p.title else ":" for p in passages)
    lines = (f"Doc {n}{title} {p.text}" for n, (title, p) in enumerate(zip(titles, passages, strict=True), 1))
    return "\n".join(lines) or NOTHING
