"""Tools that break a promise each, and one of each kind that breaks none."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentgym.errors import ToolError
from agentgym.tool import Limits, ToolContext, ToolSpec, limits


def undescribed(text: str) -> str:
    """Give it back."""
    return text


@limits(timeout=0.2)
def slow(text: str) -> str:
    """Take too long.

    Args:
        text: Whatever.
    """
    time.sleep(2)
    return text


_calls: list[str] = []


def counting(text: str) -> int:
    """Count calls, though it says nothing of a state.

    Args:
        text: Whatever.
    """
    _calls.append(text)
    return len(_calls)


_now = ""


async def muddled(text: str) -> str:
    """Keep what it is at where all episodes keep it.

    Args:
        text: Whatever.
    """
    global _now
    _now = text
    await asyncio.sleep(0)
    return _now


def littering(text: str) -> str:
    """Leave a file behind.

    Args:
        text: Whatever.
    """
    tempfile.mkstemp()
    return text


class Notes:
    """Keep notes.

    Args:
        note: What to keep.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __call__(self, note: str) -> list[str]:
        self.notes.append(note)
        return self.notes

    def fork(self) -> Notes:
        twin = type(self)()
        twin.notes = list(self.notes)
        return twin


class SharedNotes(Notes):
    """Keep notes, in a fork the same.

    Args:
        note: What to keep.
    """

    def fork(self) -> Notes:
        twin = type(self)()
        twin.notes = self.notes
        return twin


class ForgottenNotes(Notes):
    """Keep notes, but not in a fork.

    Args:
        note: What to keep.
    """

    def fork(self) -> Notes:
        return type(self)()


def picky(code: str) -> str:
    """Take one code.

    Args:
        code: The right one.
    """
    if code != "sesame":
        raise ToolError("wrong code")
    return "open"


def own_example(code: str) -> str:
    """Take one code.

    Args:
        code: The right one.
    """
    return picky(code)


own_example.examples = [{"code": "sesame"}]  # type: ignore[attr-defined]


def wrong_example(code: str) -> str:
    """Take one code.

    Args:
        code: The right one.
    """
    return picky(code)


wrong_example.examples = [{"code": "barley"}]  # type: ignore[attr-defined]


RAW = ToolSpec(
    "raw",
    "Give it back.",
    {"type": "object", "properties": {"x": {"type": "string", "description": "X."}}, "required": ["x"]},
)


class Raw:
    """A tool that is not made of a function, and looks at no argument before it uses it."""

    spec = RAW
    limits = Limits()
    ordered = False

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        return str(arguments["x"])

    async def fork(self) -> Raw:
        return self

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class RawSet:
    """Cannot be pickled when it holds a `lambda`."""

    held: Any = None

    async def open(self, services: Any) -> list[Any]:
        return [Raw()]
