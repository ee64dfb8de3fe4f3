"""What OpenAI-like servers answer: as one body, or as the chunks of a stream. Only what is read here is named."""

from __future__ import annotations

import msgspec


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None


class Answer(msgspec.Struct, kw_only=True):
    """A body or a chunk; the last chunk of a stream tells the usage, those of some servers all do."""

    usage: Usage | None = None


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    """Or a part of one: those with the same index belong together."""

    index: int | None = None
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Said(msgspec.Struct):
    """A message, or what a chunk adds to one."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Likely(msgspec.Struct):
    """A token and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class Sampled(Likely):
    top_logprobs: list[Likely] = []


class Logprobs(msgspec.Struct):
    content: list[Sampled] | None = None


class ChatChoice(msgspec.Struct):
    """stop_reason (vLLM), matched_stop (SGLang): the stop text that ended it, None or a token where none did."""

    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    stop_reason: str | int | msgspec.UnsetType | None = msgspec.UNSET
    matched_stop: str | int | msgspec.UnsetType | None = msgspec.UNSET
    logprobs: Logprobs | None = None


class ChatAnswer(Answer, kw_only=True):
    choices: list[ChatChoice]


class TokenLogprobs(msgspec.Struct):
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class Scored(msgspec.Struct):
    logprob: float


class TokenChoice(msgspec.Struct):
    """Of `completions`, as vLLM answers them. prompt_logprobs: by token id, one table for each token but the
    first."""

    token_ids: list[int] | None = None
    finish_reason: str | None = None
    logprobs: TokenLogprobs | None = None
    prompt_logprobs: list[dict[str, Scored] | None] | None = None


class TokenAnswer(Answer, kw_only=True):
    """version: not the server's; of the weights that were in use here when it came."""

    choices: list[TokenChoice]
    version: int = 0


class ModelCard(msgspec.Struct):
    """max_model_len (vLLM): tokens of a prompt and its answer."""

    id: str
    max_model_len: int | None = None


class ModelList(Answer, kw_only=True):
    data: list[ModelCard]


class WeightInfo(msgspec.Struct):
    """weight_version (vLLM): what the weights were last called."""

    weight_version: str


class CacheReset(msgspec.Struct):
    success: bool
