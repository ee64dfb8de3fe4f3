"""The engine `openai`: the policy is a model behind an OpenAI-like server."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agentgym.api.settings import ApiSettings
from agentgym.ranges import at_least

if TYPE_CHECKING:
    from agentgym.engines.chat_engine import ChatEngine
    from agentgym.engines.chat_pieces import ChatPieces
    from agentgym.engines.token_engine import TokenEngine

_NO_TRAINING = {
    "chat": "engine openai cannot train with form=chat: a chat API returns no token ids, so nobody knows what "
    "was sampled; evaluate with it, or train with engine=torch",
    "tokens": "engine openai cannot train without engine.weights_folder: this server's weights cannot be set from "
    "here; name a folder that vLLM's server reads (docs/api_models.md), or train with engine=torch",
}


@dataclass(frozen=True, kw_only=True)
class Openai(ApiSettings):
    """Any model at a server that speaks OpenAI's API. Fields as in ApiSettings, and:

    form: `chat`, any server of chat completions, with no model and no tokenizer here; `tokens`, a server that
    takes and returns token ids (vLLM), with the model's tokenizer here. max_len: tokens that a conversation may
    have (None: as many as the server takes, and with form=tokens as the model). top_logprobs: likeliest tokens to
    ask for at each token, for log-probabilities and entropies (0: with form=chat neither, with form=tokens no
    entropies). extra: more fields of every request. leave_out: fields that the server refuses.

    Of form=chat alone: continues: the server goes on with an assistant's message when asked to (vLLM).
    calls_tools: it takes tools and returns calls; where it does not, both are text. stops: most stop texts that
    it takes in a request; others are looked for here, and what was said after them is paid for nothing.
    limit_field: what it calls the limit of an answer. vocab_size: of the model, as far as that is known;
    entropies are compared to it.

    Of form=tokens alone: served_as: the model's name at the server, where that is not `model`. raw_logprobs: the
    server's log-probabilities are those of temperature 1, whatever it samples at (vLLM: --logprobs-mode
    raw_logprobs, its default). weights_folder: a folder here that vLLM's server reads as well, through which it is
    given the model's weights, at the start and after each update; without one its weights stay as they are.
    """

    form: Literal["chat", "tokens"] = "chat"
    concurrency: int = 256
    patience: float = 240.0
    max_len: int | None = None
    top_logprobs: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    continues: bool = False
    calls_tools: bool = True
    stops: int = 4
    limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    vocab_size: int = 200_000
    served_as: str = ""
    raw_logprobs: bool = True
    weights_folder: str = ""

    copies_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        ApiSettings.__post_init__(self)
        at_least(self, 2, "max_len", "vocab_size")
        at_least(self, 0, "top_logprobs", "stops")
        if self.weights_folder and self.form != "tokens":
            raise ValueError("weights_folder needs form=tokens: a chat API returns no token ids to learn from")
        if self.weights_folder and not Path(self.weights_folder).is_dir():
            raise ValueError(f"weights_folder: there is no folder {self.weights_folder}")
        if self.weights_folder and not os.access(self.weights_folder, os.W_OK):
            raise ValueError(f"weights_folder: {self.weights_folder} cannot be written")

    @property
    def refuses_training(self) -> str:
        """Why nothing can be trained with this engine; empty where it can."""
        return "" if self.weights_folder else _NO_TRAINING[self.form]

    @property
    def brings_model(self) -> bool:
        """Whether the policy is at the server alone, so that there is no model and no tokenizer here."""
        return self.form == "chat"

    def reach(self, model: str, chat: ChatPieces) -> ChatEngine:
        """An engine for a model at the server. Raises ConfigError without the package or the key."""
        from agentgym.engines.chat_engine import ChatEngine

        return ChatEngine(self, model, chat)

    def start(self, model: Any, tokenizer: Any) -> TokenEngine:
        """An engine for what the server serves of `model`. Raises ConfigError without the package or the key."""
        from agentgym.engines.token_engine import TokenEngine

        return TokenEngine(self, model, tokenizer)
