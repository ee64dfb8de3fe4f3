"""The live client of an OpenAI-like server: bounded, counted, and told apart from its failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import openai
from aiolimiter import AsyncLimiter
from openai.types.chat import ChatCompletion

from agentgym.errors import BudgetSpent, LlmError
from agentgym.llm import Spent
from agentgym.types import Message

if TYPE_CHECKING:
    from agentgym.llms.openai import Openai

NO_KEY = "none"
"""What servers that want no key are sent, as the SDK sends one in any case."""

log = logging.getLogger(__name__)


class OpenaiClient:
    """See `Llm`. Requests wait here for their turn: thousands that wait in the SDK's own pool slow it down."""

    def __init__(self, config: Openai, key: str) -> None:
        self.config = config
        self.spent = Spent()
        self._key = key
        self._holds_schemas = True  # until the server refuses one
        self._client = openai.AsyncOpenAI(
            api_key=key or NO_KEY, base_url=config.base_url, timeout=config.timeout, max_retries=config.retries
        )
        self._gates: list[asyncio.Semaphore | AsyncLimiter] = [asyncio.Semaphore(config.concurrency)]
        if config.rate is not None:
            self._gates.append(AsyncLimiter(max(config.rate, 1.0), max(1.0, 1.0 / config.rate)))

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """See `Llm`. A server that gives fewer answers than were asked for is asked for the others."""
        options: dict[str, Any] = {"temperature": temperature, "max_completion_tokens": max_tokens}
        texts: list[str] = []
        while len(texts) < n:
            asked = {"model": self.config.model, "messages": list(messages), "n": n - len(texts), **options}
            completion = await self._ask(asked, schema)
            texts += [choice.message.content or "" for choice in completion.choices]
        return texts[:n]

    async def close(self) -> None:
        """See `Llm`."""
        await self._client.close()

    async def _ask(self, request: dict[str, Any], schema: Mapping[str, Any] | None) -> ChatCompletion:
        if schema is None or not self._holds_schemas:
            return await self._send(request)
        named = {"name": "answer", "schema": dict(schema), "strict": True}
        try:
            return await self._send({**request, "response_format": {"type": "json_schema", "json_schema": named}})
        except _SchemaRefused as error:
            log.warning(
                "%s takes no JSON schema (%s); answers are checked here alone", self.config.base_url, error
            )
            self._holds_schemas = False
            return await self._send(request)

    async def _send(self, request: dict[str, Any]) -> ChatCompletion:
        """One request with its retries."""
        async with AsyncExitStack() as turn:
            for gate in self._gates:
                await turn.enter_async_context(gate)
            self._check_budget()
            try:
                async with asyncio.timeout(self.config.patience):
                    completion: ChatCompletion = await self._client.chat.completions.create(**request)
            except TimeoutError as error:
                raise self._failure(f"no answer within {self.config.patience:g} s") from error
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refused = "response_format" in request and "response_format" in str(error)
                raise self._failure(str(error), _SchemaRefused if refused else LlmError) from error
            except (openai.OpenAIError, ValueError) as error:  # ValueError: a body that is no JSON
                raise self._failure(f"{type(error).__name__}: {error}") from error
            self._count(completion)
        return completion

    def _count(self, completion: Any) -> None:
        """Add what was used. The SDK takes any JSON for a completion; raises LlmError unless it is one."""
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise self._failure(f"what came is no chat completion: {str(completion)[:200]}")
        usage, config = completion.usage, self.config
        if usage is None and (config.budget_tokens or config.budget_cost):
            raise self._failure("the server does not say what it used, so that no budget can be kept")
        self.spent.requests += 1
        if usage is not None:
            self.spent.prompt_tokens += usage.prompt_tokens
            self.spent.completion_tokens += usage.completion_tokens
            price = usage.prompt_tokens * config.prompt_price + usage.completion_tokens * config.completion_price
            self.spent.cost += price / 1e6

    def _check_budget(self) -> None:
        config, spent = self.config, self.spent
        if config.budget_tokens is not None and spent.tokens >= config.budget_tokens:
            raise BudgetSpent(
                f"llm openai: {spent.tokens} tokens are spent and budget_tokens is {config.budget_tokens}"
            )
        if config.budget_cost is not None and spent.cost >= config.budget_cost:
            raise BudgetSpent(f"llm openai: {spent.cost:g} is spent and budget_cost is {config.budget_cost:g}")

    def _failure(self, reason: str, kind: type[LlmError] = LlmError) -> LlmError:
        """Where, what and why; without the key, which a server may repeat."""
        safe = reason.replace(self._key, "***") if self._key else reason
        return kind(f"llm openai: {self.config.model} at {self.config.base_url}: {safe[:500]}")


class _SchemaRefused(LlmError):
    """The server wants no response_format."""
