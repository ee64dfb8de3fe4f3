"""Calls into other libraries: in threads, with a deadline, and never a reward of 0 for what breaks there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from agentgym.errors import AgentgymError, EnvError, ToolTimeout
from agentgym.tooling.threads import Threads

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """name: for messages. seconds: that a call may take."""

    name: str
    seconds: float

    async def __call__(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises EnvError for what it raises, ToolTimeout."""
        deadline = asyncio.timeout(self.seconds)
        try:
            async with deadline:
                return await _threads(self.name).run(work)
        except AgentgymError:
            raise
        except Exception as error:
            if deadline.expired():
                raise ToolTimeout(f"{self.name}: no answer within {self.seconds:g} s") from error
            raise EnvError(f"{self.name} failed: {type(error).__name__}: {error}") from error


@cache
def _threads(name: str) -> Threads:
    return Threads(name)
