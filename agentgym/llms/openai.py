"""LLM `openai`: any server that speaks OpenAI's chat completions, OpenAI's own or one at any base_url."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.api.settings import ApiSettings

if TYPE_CHECKING:
    from agentgym.llms.openai_client import OpenaiClient


@dataclass(frozen=True, kw_only=True)
class Openai(ApiSettings):
    """A model behind an API. Fields as in ApiSettings, and: model: its name there."""

    model: str

    async def open(self) -> OpenaiClient:
        """A client; raises ConfigError without the package or the key. The server is met by the first request."""
        from agentgym.llms.openai_client import OpenaiClient

        return OpenaiClient(self)
