"""The LLM contract: chat messages in, texts out; for who asks a model that is not the policy, as judges do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentgym.types import Message


@dataclass(slots=True)
class Spent:
    """What an LLM has used since it was opened. cost: in the unit its prices are given in."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        """Read and written together."""
        return self.prompt_tokens + self.completion_tokens

    def __str__(self) -> str:
        read, written = f"{self.prompt_tokens:,}", f"{self.completion_tokens:,}"
        return (
            f"{self.requests:,} requests, {read} prompt tokens, {written} completion tokens, cost {self.cost:.4g}"
        )


class Llm(Protocol):
    """A live LLM, shared by all of a run that ask the same one."""

    @property
    def spent(self) -> Spent:
        """What it has used so far."""
        ...

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """`n` answers of at most `max_tokens` tokens each, within a deadline of its own.

        schema: the JSON schema that answers are held to where that can be enforced; who reads them checks.
        Raises LlmError when there are none to be had, and BudgetSpent, which is one.
        """
        ...

    async def close(self) -> None:
        """Free what it holds; may be called twice."""
        ...
