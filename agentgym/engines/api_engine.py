"""What engines behind an API share: one server, and what its failures mean for an episode and for a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from agentgym.api.client import ApiClient
from agentgym.api.failures import ApiFailure, Refusal
from agentgym.api.wire import Answer
from agentgym.errors import BudgetSpent, ConfigError, EngineError
from agentgym.llm import Spent

if TYPE_CHECKING:
    from agentgym.engines.openai import Openai

A = TypeVar("A", bound=Answer)
T = TypeVar("T")


class ContextFull(Exception):
    """The server says that the conversation is too long for the model."""


class ApiEngine:
    """See `Engine`. Nothing is kept for sessions: servers find what prompts share by themselves."""

    version = 0
    shares_weights = False

    def __init__(self, config: Openai, model: str) -> None:
        self.config = config
        self.model = model
        self.max_len = config.max_len or 2**31
        self._client = ApiClient(config, f"engine openai: {self.model}")
        self._answered = False

    @property
    def spent(self) -> Spent:
        """What was used so far."""
        return self._client.spent

    @property
    def reused(self) -> int:
        """See `Engine`; 0 for servers that do not tell."""
        return self._client.cached or 0

    def release(self, session: str) -> None:
        """See `Engine`."""

    async def load(self, weights: Any, version: int) -> None:
        """See `Engine`."""
        raise ConfigError(self.config.refuses_training)

    async def close(self) -> None:
        """See `Engine`."""
        await self._client.close()

    def request(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields as this server takes them."""
        whole = {"model": self.model, **fields, **self.config.extra}
        return {key: value for key, value in whole.items() if key not in self.config.leave_out}

    async def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        kind: type[A],
        read: Callable[[list[A]], T],
        note: Callable[[A], None] = lambda chunk: None,
    ) -> T:
        """The answer, as `ApiClient.ask` finds it. Raises ContextFull, EngineError for what fails this
        request, and ConfigError for what would fail all: what is refused before anything was answered is taken for
        that."""
        try:
            found = await self._client.ask(path, body, kind, read, note)
        except (ApiFailure, BudgetSpent) as error:
            fault = error.fault if isinstance(error, Refusal) else ""
            if fault == "context":
                raise ContextFull(str(error)) from error
            if fault == "settings":
                hint = "check model, engine.base_url and engine.api_key_env"
                raise ConfigError(f"{error} ({hint})") from error
            if fault == "request" and not self._answered:
                hint = "engine.leave_out names fields that a server does not take, engine.extra adds others"
                raise ConfigError(f"{error} ({hint})") from error
            raise EngineError(str(error)) from error
        self._answered = True
        return found
