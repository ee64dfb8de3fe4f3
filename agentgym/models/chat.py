"""Messages to token ids through a tokenizer's chat template, append-only.

What the environment says is data: special tokens inside it are neutralised, so no tool output can end a
turn or open a new one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from agentgym.errors import ConfigError
from agentgym.protocols.describe import with_tools_described
from agentgym.types import Message, Observation
from agentgym.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


class Chat:
    """A `Renderer` over a Hugging Face tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise ConfigError("the tokenizer has no end-of-sequence token; agentgym needs one to end a turn")
        self.tokenizer = tokenizer
        self._eos = int(tokenizer.eos_token_id)
        self._outputs = Vocabulary.of(tokenizer)
        self._texts = Vocabulary(_control_tokens(tokenizer))  # these may well tell the policy what tags to write
        self._encode = lru_cache(maxsize=4096)(self._encode_text)
        self._render = lru_cache(maxsize=4096)(self._render_messages)  # a group's prompts are the same

    def open(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The prompt up to where the assistant speaks. Without a chat template: the contents, by lines."""
        return self._render(json.dumps(messages), True)

    def extend(self, observation: Observation) -> tuple[int, ...]:
        """Raw text, encoded on its own; or messages, as the template would put them after an assistant's."""
        if isinstance(observation, str):
            return self._encode(self._texts.disarm(observation))
        if not self._has_template:
            return self._encode("\n") + (self.open(observation) if observation else ())
        before = self._render(json.dumps(_PROBE), False)
        after = self._render(json.dumps([*_PROBE, *observation]), True)
        if after[: len(before)] != before:
            raise ConfigError(
                "this chat template rewrites earlier turns when messages are added, so observations cannot be "
                "appended exactly; use an action protocol that answers inside the assistant's message"
            )
        return self._close_turn(before) + after[len(before) :]

    def speak(self, text: str, *, end: bool) -> tuple[int, ...]:
        """A demonstrator's words as the policy would sample them."""
        return self._encode(text) + ((self._eos,) if end else ())

    def decode(self, ids: Sequence[int]) -> str:
        """Text, special tokens included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    @property
    def _has_template(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def _close_turn(self, before: tuple[int, ...]) -> tuple[int, ...]:
        """What the template writes after the end-of-turn id that the policy itself has sampled."""
        if self._eos not in before:
            return ()
        return before[len(before) - before[::-1].index(self._eos) :]

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def _render_messages(self, conversation: str, speak_next: bool) -> tuple[int, ...]:
        """The ids of messages, given as JSON. The first may bring tools for the template to announce."""
        messages: list[dict[str, Any]] = json.loads(conversation)
        tools = self._outputs.disarm(messages[0].pop("tools", []))
        messages = [(self._outputs if m["role"] == "tool" else self._texts).disarm(m) for m in messages]
        if tools and not self._announces(messages, tools):
            messages, tools = with_tools_described(messages, tools), []
        if not self._has_template:
            return self._encode("\n".join(m["content"] for m in messages) + "\n")
        return tuple(self._apply(messages, tools, speak_next, tokenize=True))

    def _announces(self, messages: list[dict[str, Any]], tools: list[Any]) -> bool:
        """Whether the chat template tells the policy of its tools."""
        if not self._has_template:
            return False
        told = self._apply(messages, tools, True, tokenize=False)
        return bool(told != self._apply(messages, [], True, tokenize=False))

    def _apply(self, messages: list[dict[str, Any]], tools: list[Any], speak_next: bool, *, tokenize: bool) -> Any:
        try:
            return self.tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                add_generation_prompt=speak_next,
                tokenize=tokenize,
                return_dict=False,
            )
        except TemplateError as error:
            roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
            raise ConfigError(
                f"the model's chat template refuses messages of the roles {roles}: {error}. Use an action "
                "protocol that answers inside the assistant's message, such as retool; prompt=plain leaves out "
                "the system message"
            ) from error


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Tokens that shape a conversation. Some families do not flag all of theirs as special."""
    added = tokenizer.added_tokens_decoder.values()
    flagged = [token.content for token in added if token.special or "|" in token.content or "｜" in token.content]
    return [*flagged, *tokenizer.all_special_tokens]
