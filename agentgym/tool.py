"""The tool contract: what an environment's actions call."""

from __future__ import annotations

from typing import Protocol


class Tool(Protocol):
    """A callable that answers in text. `ToolError` goes to the policy; anything else ends the episode."""

    async def __call__(self, argument: str) -> str: ...

    async def fork(self) -> Tool:
        """The same tool in the same state; a stateless tool returns itself."""
        ...

    async def close(self) -> None:
        """Free what it holds; may be called twice."""
        ...
