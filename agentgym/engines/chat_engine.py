"""The engine over a chat API: conversations in pieces in, what the model says in pieces out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentgym.api.wire import ChatAnswer
from agentgym.engine import Sample, Sampling
from agentgym.engines.api_engine import ApiEngine, ContextFull
from agentgym.engines.chat_pieces import ChatPieces
from agentgym.engines.chat_reply import Reply, ending, read_reply
from agentgym.engines.chat_request import conversation
from agentgym.engines.chat_tokens import cut
from agentgym.engines.pieces import END
from agentgym.engines.prompts import sample_limit
from agentgym.errors import EngineError
from agentgym.types import Tokens

if TYPE_CHECKING:
    from agentgym.engines.openai import Openai


class ChatEngine(ApiEngine):
    """See `Engine` and `Openai`. chat: renders what the engine is given."""

    def __init__(self, config: Openai, model: str, chat: ChatPieces) -> None:
        super().__init__(config, model)
        self.chat = chat
        self.vocab_size = config.vocab_size

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        """See `Engine`. A conversation that the model has no room for any more gives no tokens."""
        limit = sample_limit(len(ids), sampling, self.max_len)
        messages = self.chat.pieces.messages(ids)
        try:
            reply = await self._reply(self._body(messages, sampling), limit)
        except ContextFull:
            return Sample(Tokens((), None, None, ()), "", "length")
        begun = self.chat.pieces.text(ids[len(ids) - sampling.begun :])
        text, finish = ending(reply, sampling.stop, begun)
        bits = cut(reply, text, ended=finish == "eos")
        told = self.chat.pieces.write(bits.texts) + ((END,) if finish == "eos" else ())
        return Sample(Tokens(told, bits.logprobs, bits.entropy, (self.version,) * len(told)), text, finish)

    async def score(self, ids: Sequence[int]) -> Tokens:
        """See `Engine`; chat APIs cannot."""
        raise EngineError("engine openai: a chat API does not score texts; form=tokens can")

    async def _reply(self, body: dict[str, Any], limit: int) -> Reply:
        """A server may refuse a prompt and a limit that are too long together: the limit is then the context's
        own. Raises ContextFull where the prompt alone is."""
        limited = {**body, self.config.limit_field: limit}
        try:
            reply = await self.ask("chat/completions", self.request(limited), ChatAnswer, read_reply)
        except ContextFull:
            reply = await self.ask("chat/completions", self.request(body), ChatAnswer, read_reply)
        if reply.finish_reason == "content_filter":
            raise EngineError(f"engine openai: {self.model}: a content filter cut the answer off")
        return reply

    def _body(self, messages: list[dict[str, Any]], sampling: Sampling) -> dict[str, Any]:
        config = self.config
        fields: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.top_k:
            fields["top_k"] = sampling.top_k
        if sampling.seed is not None:
            fields["seed"] = sampling.seed % 2**31
        if sampling.stop and config.stops:
            fields["stop"] = list(sampling.stop[: config.stops])
        if config.top_logprobs:
            fields |= {"logprobs": True, "top_logprobs": config.top_logprobs}
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
        said = conversation(messages, continues=config.continues, calls_tools=config.calls_tools)
        return {**said, **fields}
