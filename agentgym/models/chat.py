"""Messages to token ids through a tokenizer's chat template, append-only.

What the environment says is data: special tokens inside it are neutralised, so no tool output can end a
turn or open a new one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agentgym.models.template import Template
from agentgym.types import Message, Observation
from agentgym.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Chat:
    """A `Renderer` over a Hugging Face tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._template = Template(tokenizer)
        self._outputs = Vocabulary.of(tokenizer)
        self._texts = Vocabulary(_control_tokens(tokenizer))  # these may well tell the policy what tags to write
        self._encode = lru_cache(maxsize=512)(self._encode_text)
        self._open = lru_cache(maxsize=512)(self._open_messages)  # a group's prompts are the same
        self._follow = lru_cache(maxsize=512)(self._follow_messages)

    def open(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The prompt up to where the assistant speaks. Without a chat template: the contents, by lines."""
        return self._open(json.dumps(messages))

    def extend(self, observation: Observation, *, ended: bool = True) -> tuple[int, ...]:
        """Raw text, encoded on its own; or messages, as the template would put them after an assistant's."""
        if isinstance(observation, str):
            return self._encode(self._texts.disarm(observation))
        return self._follow(json.dumps(observation), ended)

    def speak(self, text: str, *, end: bool) -> tuple[int, ...]:
        """A demonstrator's words as the policy would sample them."""
        return self._encode(text) + ((self._template.end,) if end else ())

    def decode(self, ids: Sequence[int]) -> str:
        """Text, special tokens included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def _open_messages(self, conversation: str) -> tuple[int, ...]:
        """The ids of messages, given as JSON. The first may bring tools for the template to announce."""
        messages: list[dict[str, Any]] = json.loads(conversation)
        tools = self._outputs.disarm(messages[0].pop("tools", []))
        return self._template.encode(self._template.open(self._harmless(messages), tools))

    def _follow_messages(self, observation: str, ended: bool) -> tuple[int, ...]:
        ids = self._template.encode(self._template.follow(self._harmless(json.loads(observation))))
        return self._template.after_end(ids) if ended else ids

    def _harmless(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [(self._outputs if m["role"] == "tool" else self._texts).disarm(m) for m in messages]


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Tokens that shape a conversation. Some families do not flag all of theirs as special."""
    added = tokenizer.added_tokens_decoder.values()
    flagged = [token.content for token in added if token.special or "|" in token.content or "｜" in token.content]
    return [*flagged, *tokenizer.all_special_tokens]
