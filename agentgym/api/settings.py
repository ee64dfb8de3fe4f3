"""What every client of an API is told: where it is, how long to wait, what may be spent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from agentgym.errors import ConfigError
from agentgym.ranges import above, at_least


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """A server that speaks OpenAI's API, OpenAI's own or one at any base_url.

    api_key_env: the variable that holds the key, which is never written anywhere; empty: the server wants none.
    timeout: seconds for which a server that was asked may say nothing. patience: seconds for a request with all
    its retries. retries: after lost connections, silence, answers that are none, 408, 409, 429 and 5xx, at the
    pace the server asks for; None for as many as patience allows. concurrency: requests at once. rate: requests
    per second. prompt_price, completion_price: of a million tokens. budget_tokens, budget_cost: once spent,
    nothing more is asked; requests under way are still paid.
    """

    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    patience: float = 300.0
    retries: int | None = None
    concurrency: int = 32
    rate: float | None = None
    budget_tokens: int | None = None
    budget_cost: float | None = None
    prompt_price: float = 0.0
    completion_price: float = 0.0

    def __post_init__(self) -> None:
        above(self, 0, "timeout", "patience", "concurrency", "rate", "budget_tokens", "budget_cost")
        at_least(self, 0, "retries", "prompt_price", "completion_price")
        if self.budget_cost is not None and not (self.prompt_price or self.completion_price):
            raise ValueError(
                "budget_cost needs prompt_price and completion_price: without prices nothing is spent"
            )
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError(
                f"base_url: http(s)://HOST/PATH without a name or key in it is needed, not {self.base_url!r}"
            )

    def find_key(self, who: str) -> str:
        """The key, empty for none. Raises ConfigError that names `who` for a variable that is not set."""
        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        if self.api_key_env and not key:
            raise ConfigError(
                f"{who}: {self.api_key_env} is not set; put the key of {self.base_url} in it, name another "
                "variable in api_key_env, or set that to '' for a server that wants none"
            )
        return key
