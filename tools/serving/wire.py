"""What the router and its workers say to each other: JSON, one message a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

MAX_LINE = 1 << 30
"""Bytes of a message. What a client may send is bounded by `max_body` already."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a policy said. begins: the trajectory is new to the server. finish: it only ends the trajectory.
    last: the trajectory ends after it."""

    trajectory: str
    text: str
    finish: bool = False
    last: bool = False
    begins: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of an action. waited: seconds before it was its turn."""

    observation: str | dict[str, str]
    done: bool = False
    valid: bool = True
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Started:
    """A worker's first word. tools: their names. error: why it cannot work; empty when it can."""

    tools: tuple[str, ...] = ()
    error: str = ""


def failed(text: str) -> Reply:
    """The reply to an action that failed, or was never carried out, which ends its trajectory."""
    return Reply({"obs": text, "error": text}, done=True, valid=False)


def to_line(number: int, message: Any) -> bytes:
    """A message and the number that ties an answer to its question. ASCII, so that any text goes through."""
    return json.dumps([number, msgspec.to_builtins(message)]).encode() + b"\n"


def from_line(line: bytes, kind: type[T]) -> tuple[int, T]:
    """What `to_line` was given."""
    number, message = json.loads(line)
    return number, msgspec.convert(message, kind)
