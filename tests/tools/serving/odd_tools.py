"""Tools that a server's tests need: with state, slow, hanging, deadly."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from agentgym.errors import ToolError
from agentgym.tool import limits


class Counter:
    """Counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, said: str) -> str:
        """Say something; it comes back with the count."""
        self.count += 1
        return f"{said} {self.count}"

    async def fork(self) -> Counter:
        twin = Counter()
        twin.count = self.count
        return twin


class Marks:
    """Makes a file when it is closed."""

    def __init__(self) -> None:
        self.file = ""

    def __call__(self, file: str) -> str:
        """Name the file."""
        self.file = file
        return "noted"

    def fork(self) -> Marks:
        return Marks()

    def close(self) -> None:
        if self.file:
            Path(self.file).touch()


async def waits(file: str) -> str:
    """Come back when a file exists; the file `FILE.begun` says that the wait has begun."""
    Path(f"{file}.begun").touch()  # noqa: ASYNC240
    while not Path(file).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)
    return "done"


@limits(timeout=0.3)
async def hangs(word: str) -> str:
    """Never come back."""
    await asyncio.Event().wait()
    return word


async def blocks(file: str) -> str:
    """Never come back, and stop the whole process with it; the file `FILE.begun` says that this has begun."""
    Path(f"{file}.begun").touch()  # noqa: ASYNC240
    while True:
        time.sleep(0.1)  # noqa: ASYNC251 - the fault


async def dies(word: str) -> str:
    """End the process."""
    os._exit(3)


def refuses(word: str) -> str:
    """Take nothing."""
    raise ToolError(f"{word!r} is not to my taste")


def breaks(word: str) -> str:
    """Fail."""
    raise RuntimeError(word)


def pid(word: str) -> str:
    """The process that this runs in."""
    print("a tool may print")
    return str(os.getpid())
