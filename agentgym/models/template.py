"""A tokenizer's chat template: what it writes of a conversation, and what after the assistant has spoken.

The date that some templates write (Llama's, Mistral's) is always the same, or a run that is resumed tomorrow would
be another run; it is the one that Llama's fall back on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from agentgym.errors import ConfigError
from agentgym.protocols.describe import with_tools_described

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[dict[str, Any]]

_TODAY = datetime(2024, 7, 26)
_SAID = "what-the-assistant-said"
_USER: dict[str, Any] = {"role": "user", "content": "a"}
_SAYS: list[dict[str, Any]] = [_USER, {"role": "assistant", "content": _SAID}]
_OUTPUT: dict[str, Any] = {"role": "tool", "content": "a"}


class Template:
    """Without a chat template in the tokenizer: the contents, by lines.

    end: the token that ends the assistant's turn, as the template writes it; it need not be the tokenizer's own
    end-of-sequence token (Gemma's is not), which it is where the template writes none.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise ConfigError("the tokenizer has no end-of-sequence token; agentgym needs one to end a turn")
        self._tokenizer = tokenizer
        self.exists = bool(getattr(tokenizer, "chat_template", None))
        self.end = self._find_end()

    def open(self, messages: Messages, tools: Sequence[Any] = ()) -> str:
        """A conversation up to where the assistant speaks, with tools announced by the template or, where it has
        no place for them, in the system message. Raises ConfigError for roles that the template refuses."""
        if tools and not self._announces(messages, tools):
            messages, tools = with_tools_described(messages, tools), ()
        return self._write(messages, tools)

    def follow(self, messages: Messages) -> str:
        """What the template puts from the end of an assistant's words to where it speaks again, with these
        messages in between. It depends on nothing that was said before: tools and system message stay where they
        were put, although some templates move them to the newest user message."""
        _, said, after = self._write([*_SAYS, *messages]).partition(_SAID)
        if not said:
            raise ConfigError(
                "this chat template does not show what the assistant said before, so nothing can be appended to "
                "it; use an action protocol that answers inside the assistant's message, such as retool"
            )
        return after

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of a text that this template wrote, in which special tokens are special."""
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not self.exists)
        return tuple(ids)

    def after_end(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """What comes after the end of the turn in the ids of what `follow` gave; all, where no such token is
        written. Cut here and not in the text, since some tokenizers encode a text's beginning in another way."""
        at = ids.index(self.end) if self.end in ids else -1
        return ids[at + 1 :] if self._is_blank(ids[: max(at, 0)]) else ids

    def _is_blank(self, ids: tuple[int, ...]) -> bool:
        return not str(self._tokenizer.decode(ids)).strip()

    def _find_end(self) -> int:
        """The first of the vocabulary's added tokens after the assistant's words, if no word comes before it."""
        eos = int(self._tokenizer.eos_token_id)
        if not self.exists:
            return eos
        added = self._tokenizer.added_tokens_decoder
        ids = self.encode(self._write(_SAYS, speak=False).partition(_SAID)[2])
        for at, index in enumerate(ids):
            if index in added and not self._is_blank((index,)):
                return index if self._is_blank(ids[:at]) else eos
        return eos

    @cached_property
    def _takes_system(self) -> bool:
        """Whether there is a place for a system message; if not, it stands before the first user's."""
        return self._accepts({"role": "system", "content": "a"}, _USER)

    @cached_property
    def _wants_ids(self) -> bool:
        """Whether outputs need the id of their call, as Mistral's do: nine letters and digits."""
        return not self._accepts(*_SAYS, _OUTPUT) and self._accepts(*_SAYS, _with_id(_OUTPUT, 0))

    def _accepts(self, *messages: dict[str, Any]) -> bool:
        try:
            self._apply(messages, (), speak=True)
        except TemplateError:
            return False
        return True

    def _announces(self, messages: Messages, tools: Sequence[Any]) -> bool:
        """Whether the template tells the policy of its tools."""
        return self.exists and self._write(messages, tools) != self._write(messages)

    def _write(self, messages: Messages, tools: Sequence[Any] = (), *, speak: bool = True) -> str:
        if not self.exists:
            return "\n".join(message["content"] for message in messages) + "\n"
        if messages[0]["role"] == "system" and not self._takes_system:
            messages = _without_system(messages)
        if any(message["role"] == "tool" for message in messages) and self._wants_ids:
            messages = [_with_id(m, i) if m["role"] == "tool" else m for i, m in enumerate(messages)]
        try:
            return self._apply(messages, tools, speak=speak)
        except TemplateError as error:
            roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
            raise ConfigError(
                f"the model's chat template refuses messages of the roles {roles}: {error}. Use an action "
                "protocol that answers inside the assistant's message, such as retool"
            ) from error

    def _apply(self, messages: Messages, tools: Sequence[Any], *, speak: bool) -> str:
        written = self._tokenizer.apply_chat_template(
            list(messages),
            tools=list(tools) or None,
            add_generation_prompt=speak,
            tokenize=False,
            strftime_now=_TODAY.strftime,
        )
        return str(written)


def _without_system(messages: Messages) -> Messages:
    """The messages with the system's before the words of the user's, as Gemma 3's own template has them."""
    system, *others = messages
    if not others or others[0]["role"] != "user":
        return [{**system, "role": "user"}, *others]
    first, *later = others
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *later]


def _with_id(output: dict[str, Any], index: int) -> dict[str, Any]:
    """A tool's output with the id of its call, or one made up for a call that has none in the form wanted."""
    given = output.get("tool_call_id", "")
    fits = len(given) == 9 and given.isascii() and given.isalnum()
    return output if fits else {**output, "tool_call_id": f"call{index:05}"}
