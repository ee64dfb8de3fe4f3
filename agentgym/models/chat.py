"""Messages to token ids through a tokenizer's chat template, append-only.

What the environment says is data: special tokens inside it are neutralised, so no tool output can end a
turn or open a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agentgym.errors import ConfigError
from agentgym.types import Message, Observation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE: list[dict[str, str]] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


class Chat:
    """A `Renderer` over a Hugging Face tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise ConfigError("the tokenizer has no end-of-sequence token; agentgym needs one to end a turn")
        self.tokenizer = tokenizer
        self._eos = int(tokenizer.eos_token_id)
        self._encode = lru_cache(maxsize=4096)(self._encode_text)
        self._render = lru_cache(maxsize=4096)(self._render_template)  # a group's prompts are the same

    def open(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The prompt up to where the assistant speaks. Without a chat template: the contents, by lines."""
        if not getattr(self.tokenizer, "chat_template", None):
            return self._encode("\n".join(m["content"] for m in messages) + "\n")
        return self._template(messages, add_generation_prompt=True)

    def extend(self, observation: Observation) -> tuple[int, ...]:
        """Raw text, encoded on its own; or messages, as the template would put them after an assistant's."""
        if isinstance(observation, str):
            return self._encode(observation)
        if not getattr(self.tokenizer, "chat_template", None):
            return self._encode("\n" + "\n".join(m["content"] for m in observation) + "\n")
        before = self._template(_PROBE, add_generation_prompt=False)
        after = self._template([*_PROBE, *observation], add_generation_prompt=True)
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

    def _close_turn(self, before: tuple[int, ...]) -> tuple[int, ...]:
        """What the template writes after the end-of-turn id that the policy itself has sampled."""
        if self._eos not in before:
            return ()
        return before[len(before) - before[::-1].index(self._eos) :]

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def _template(self, messages: Sequence[Any], *, add_generation_prompt: bool) -> tuple[int, ...]:
        return self._render(tuple(tuple(message.items()) for message in messages), add_generation_prompt)

    def _render_template(self, messages: tuple[Any, ...], add_generation_prompt: bool) -> tuple[int, ...]:
        clean = [{**m, "content": self._neutralise(m["content"])} for m in map(dict, messages)]
        ids = self.tokenizer.apply_chat_template(
            clean, add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False
        )
        return tuple(ids)

    def _neutralise(self, content: str) -> str:
        """A zero-width space inside every special token's text, so that it stays text."""
        for token in self.tokenizer.all_special_tokens:
            if token in content:
                content = content.replace(token, f"{token[0]}\u200b{token[1:]}")
        return content
