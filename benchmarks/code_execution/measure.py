"""How things are timed: each of several lanes does one after the other until the time is up."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple

Operation = Callable[[], Awaitable[float]]
"""Does it once; the seconds that took, without what comes before and after."""

Lanes = Callable[[int], AbstractAsyncContextManager[list[Operation]]]
"""Makes so many lanes ready, and clears them away."""


MANY = 1 << 10
FEW = 8
"""Lanes at most where every call imports sympy anew: with 64, minutes pass in a queue for processors."""


class Skipped(Exception):
    """Cannot be measured here, and why."""


class Program(NamedTuple):
    """What a call runs, and what it prints."""

    name: str
    code: str
    output: str


PROGRAMS = (
    Program("small", "print(sum(range(10)))", "45"),
    Program(
        "sympy",
        "import numpy, sympy\nprint(sympy.factorint(int(numpy.prod([8, 9, 5]))))",
        "{2: 3, 3: 2, 5: 1}",
    ),
)


@dataclass(frozen=True)
class Sample:
    """seconds: of each operation. wall: of all of them together."""

    seconds: list[float]
    wall: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return len(self.seconds) / self.wall


class Row(NamedTuple):
    """Something measured. take: given lanes and seconds. program: the name of the one that it calls, if any. most:
    lanes that make sense."""

    name: str
    take: Callable[[int, float], Awaitable[Sample]]
    program: str = ""
    most: int = MANY


def row(name: str, lanes: Lanes, program: str = "", most: int = MANY) -> Row:
    """A row of operations that this process starts."""

    async def take(count: int, seconds: float) -> Sample:
        async with lanes(count) as operations:
            started = time.perf_counter()
            taken = await asyncio.gather(*(_repeat(each, started + seconds) for each in operations))
            wall = time.perf_counter() - started
        return Sample([each for lane in taken for each in lane], wall)

    return Row(name, take, program, most)


async def _repeat(operation: Operation, end: float) -> list[float]:
    taken = [await operation()]
    while time.perf_counter() < end:
        taken.append(await operation())
    return taken


def expect(program: Program, output: str) -> None:
    """Raises RuntimeError unless that is what the program prints."""
    if output.strip() != program.output:
        raise RuntimeError(f"the program {program.name!r} printed {output[:500]!r}")
