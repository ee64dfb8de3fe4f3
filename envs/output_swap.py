"""Tool outputs that belong to another episode: does a policy live by what its tools say?"""

from __future__ import annotations

import random
import re
from collections import deque
from dataclasses import dataclass

OFF = "(the tool is off)"


@dataclass(frozen=True, slots=True)
class SwappedOutputs:
    """A service: the last `size` outputs of a tool. remembered: swaps kept, so that a replayed episode sees the
    same."""

    tool: str
    size: int = 256
    remembered: int = 100_000

    async def open(self) -> OutputPool:
        return OutputPool(self)


class OutputPool:
    """The live pool."""

    def __init__(self, config: SwappedOutputs) -> None:
        self._recent: deque[tuple[str, str]] = deque(maxlen=config.size)
        self._remembered = config.remembered
        self._given: dict[tuple[str, str], str] = {}

    def swap(self, state: tuple[str, str], task_id: str, output: str, rng: random.Random) -> str:
        """What to show instead of `output`: another task's output, or, before there is one, a random number of
        the same length. The same `state` always gets the same answer, so a replayed episode is the same one."""
        if state not in self._given:
            others = [text for task, text in self._recent if task != task_id and text != output]
            self._given[state] = rng.choice(others) if others else _scrambled(output, rng)
            if len(self._given) > self._remembered:
                del self._given[next(iter(self._given))]
            self._recent.append((task_id, output))
        return self._given[state]

    async def close(self) -> None:
        self._recent.clear()
        self._given.clear()


def _scrambled(output: str, rng: random.Random) -> str:
    length = len(re.sub(r"\D", "", output)) or 5
    while True:
        number = str(rng.randrange(10 ** (length - 1), 10**length))
        if number != output.strip():
            return number
