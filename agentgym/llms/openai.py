"""LLM `openai`: any server that speaks OpenAI's chat completions, OpenAI's own or one at any base_url."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agentgym.errors import ConfigError

if TYPE_CHECKING:
    from agentgym.llms.openai_client import OpenaiClient


@dataclass(frozen=True, kw_only=True)
class Openai:
    """A model behind an API.

    api_key_env: the variable that holds the key, which is never written anywhere; empty: the server wants none.
    timeout: seconds in which a server that was asked must say something. patience: seconds for a request with all
    its retries. retries: after lost connections, timeouts, 408, 409, 429 and 5xx, at the pace the server asks for.
    concurrency: requests at once. rate: requests per second. prompt_price, completion_price: of a million tokens.
    budget_tokens, budget_cost: once spent, nothing more is asked; requests under way are still paid.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    patience: float = 300.0
    retries: int = 4
    concurrency: int = 32
    rate: float | None = None
    budget_tokens: int | None = None
    budget_cost: float | None = None
    prompt_price: float = 0.0
    completion_price: float = 0.0

    def __post_init__(self) -> None:
        for name in ("timeout", "patience", "concurrency", "rate", "budget_tokens", "budget_cost"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
        for name in ("retries", "prompt_price", "completion_price"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")
        if self.budget_cost is not None and not (self.prompt_price or self.completion_price):
            raise ValueError(
                "budget_cost needs prompt_price and completion_price: without prices nothing is spent"
            )
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError(
                f"base_url: http(s)://HOST/PATH without a name or key in it is needed, not {self.base_url!r}"
            )

    async def open(self) -> OpenaiClient:
        """A client; raises ConfigError without the package or the key. The server is met by the first request."""
        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        if self.api_key_env and not key:
            raise ConfigError(
                f"llm openai: {self.api_key_env} is not set; put the key of {self.base_url} in it, name another "
                "variable in api_key_env, or set that to '' for a server that wants none"
            )
        try:
            from agentgym.llms.openai_client import OpenaiClient
        except ImportError as error:
            raise ConfigError("llm openai needs the package openai: pip install 'agentgym[openai]'") from error
        return OpenaiClient(self, key)
