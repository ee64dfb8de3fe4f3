"""Messages to ids and back where no tokenizer is at hand: see `pieces.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentgym.engines.pieces import END, Pieces
from agentgym.types import Message, Observation
from agentgym.vocabulary import CONTROL, Vocabulary, estimate

SHOWN, RESUMED = "shown", "resumed"
"""Roles of our own, for what is shown inside the assistant's message, and for the rest of that message."""

_OUTPUTS, _TEXTS = Vocabulary(), Vocabulary(CONTROL)  # prompts may well tell the policy what tags to write


class ChatPieces:
    """A `Renderer` for models behind a chat API. Text is cut where tokens of 4 bytes would lie, so that lengths
    are about right. Markers in what the environment says are neutralised, since servers may read them in any
    message."""

    def __init__(self) -> None:
        self.pieces = Pieces()
        self._begin = self.pieces.open({"role": "assistant"})
        self._show, self._resume = self.pieces.open({"role": SHOWN}), self.pieces.open({"role": RESUMED})

    def open(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """See `Renderer`."""
        return (*(index for message in messages for index in self._message(dict(message))), self._begin)

    def extend(self, observation: Observation, *, ended: bool = True) -> tuple[int, ...]:
        """See `Renderer`. A message ends where the next one opens, whether or not the policy ended it."""
        if isinstance(observation, str):
            return (self._show, *self.write(_TEXTS.disarm(observation)), self._resume)
        return self.open(observation)

    def speak(self, text: str, *, end: bool) -> tuple[int, ...]:
        """See `Renderer`."""
        return self.write(text) + ((END,) if end else ())

    def write(self, text: str) -> tuple[int, ...]:
        """The ids of a text. Half surrogates, which no API takes, become `?`."""
        return self.pieces.write(text[a:b].encode(errors="replace") for a, b in estimate(text))

    def decode(self, ids: Sequence[int]) -> str:
        """See `Renderer`: the roles of messages in brackets."""
        openings = self.pieces.openings(ids)
        bounds = [0, *openings, len(ids)]
        found = self.pieces.text(ids[: bounds[1]])
        for at, end in zip(openings, bounds[2:], strict=True):
            role = openings[at]["role"]
            head = "" if role in (SHOWN, RESUMED) else f"[{role}]\n" if at == 0 else f"\n[{role}]\n"
            found += head + self.pieces.text(ids[at:end])
        return found

    def _message(self, message: dict[str, Any]) -> tuple[int, ...]:
        content = message.pop("content")
        vocabulary = _OUTPUTS if message["role"] == "tool" else _TEXTS
        if "tools" in message:
            message["tools"] = _OUTPUTS.disarm(message["tools"])
        return (self.pieces.open(vocabulary.disarm(message)), *self.write(vocabulary.disarm(content)))
