"""Tools as their authors write them: what the tests load by path."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from agentgym.errors import ToolError
from agentgym.tool import limits

if TYPE_CHECKING:
    from agentgym.tool import ToolContext

LOADED = object()
closed: list[str] = []


@limits(timeout=7, retries=2)
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


async def whose(prefix: str, context: ToolContext) -> str:
    """Name the episode."""
    await asyncio.sleep(0)
    return prefix + context.trajectory


def later(n: int) -> Any:
    """Return what must be awaited."""
    return asyncio.sleep(0, n + 1)


async def forever(started: str) -> str:
    """Wait without end."""
    try:
        await asyncio.Event().wait()
    finally:
        closed.append(started)
    return ""


def refuse(reason: str) -> str:
    """Refuse."""
    raise ToolError(reason)


def leave() -> str:
    """End the program."""
    sys.exit(3)


def thread() -> str:
    """Name the thread."""
    return threading.current_thread().name


def give(kind: str) -> Any:
    """Return this and that."""
    values = {"none": None, "list": [1, {"a": None}], "point": Adder(2), "text": "as it is", "function": give}
    return values[kind]


nameless: Callable[[], str] = lambda: ""  # noqa: E731


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, by: int = 1) -> int:
        """Count on."""
        self.total += by
        return self.total

    def fork(self) -> Counter:
        twin = Counter()
        twin.total = self.total
        return twin

    def close(self) -> None:
        closed.append(f"counter {self.total}")


@dataclass
class Notes:
    """Keeps notes.

    most: how many.
    """

    most: int = 2
    timeout: float = 1.0
    notes: list[str] = field(default_factory=list, init=False)

    async def __call__(self, note: str) -> list[str]:
        if len(self.notes) == self.most:
            raise ToolError("full")
        self.notes.append(note)
        return self.notes

    async def fork(self) -> Notes:
        twin = Notes(self.most)
        twin.notes = list(self.notes)
        return twin


@dataclass
class Adder:
    stateless: ClassVar[bool] = True
    by: int = 1

    def __call__(self, n: int) -> int:
        """Add."""
        return n + self.by

    async def close(self) -> None:
        closed.append(f"adder {self.by}")


class Itself(Counter):
    def fork(self) -> Itself:
        return self


class Torn(Counter):
    def fork(self) -> Torn:
        raise OSError("disk full")


class Unforkable:
    def __call__(self) -> str:
        return ""


class Needy(Counter):
    def __init__(self, folder: str) -> None:
        super().__init__()


class Broken(Counter):
    def __init__(self) -> None:
        raise OSError("no database")


class HTTPSearch2Tool(Counter):
    pass
