"""The live client of an LLM behind an OpenAI-like server."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentgym.api.client import ApiClient
from agentgym.api.failures import ApiFailure, Refusal, Unfit
from agentgym.api.wire import ChatAnswer
from agentgym.errors import LlmError
from agentgym.llm import Spent
from agentgym.types import Message

if TYPE_CHECKING:
    from agentgym.llms.openai import Openai

log = logging.getLogger(__name__)


class OpenaiClient:
    """See `Llm`."""

    def __init__(self, config: Openai) -> None:
        self.config = config
        self._holds_schemas = True  # until the server refuses one
        self._client = ApiClient(config, f"llm openai: {config.model}")

    @property
    def spent(self) -> Spent:
        """See `Llm`."""
        return self._client.spent

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
            texts += await self._ask(asked, schema)
        return texts[:n]

    async def close(self) -> None:
        """See `Llm`."""
        await self._client.close()

    async def _ask(self, request: dict[str, Any], schema: Mapping[str, Any] | None) -> list[str]:
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

    async def _send(self, request: dict[str, Any]) -> list[str]:
        """One request with its retries."""
        try:
            return await self._client.ask("chat/completions", request, ChatAnswer, _texts)
        except ApiFailure as error:
            asked = isinstance(error, Refusal) and error.fault == "request" and "response_format" in request
            kind = _SchemaRefused if asked and "response_format" in str(error) else LlmError
            raise kind(str(error)) from error


def _texts(answers: list[ChatAnswer]) -> list[str]:
    texts = [c.message.content or "" for a in answers for c in a.choices if c.message is not None]
    if not texts:
        raise Unfit("no choices")
    return texts


class _SchemaRefused(LlmError):
    """The server wants no response_format."""
