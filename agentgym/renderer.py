"""The renderer contract: messages and text to token ids, append-only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agentgym.types import Message, Observation


class Renderer(Protocol):
    """Turns what an environment says into ids that are appended; what is already there is never re-encoded."""

    def open(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The prompt: the messages through the chat template, up to where the assistant speaks."""
        ...

    def extend(self, observation: Observation, *, ended: bool = True) -> tuple[int, ...]:
        """What follows an action: text inside the assistant's message, or new messages after it, up to where the
        assistant speaks again; no messages: what stands between two messages of the assistant. ended: whether the
        action has the end-of-turn id, which comes before messages otherwise."""
        ...

    def speak(self, text: str, *, end: bool) -> tuple[int, ...]:
        """An action written by a demonstrator; `end` adds the end-of-turn id."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens included. For people; never fed back."""
        ...
