"""What a grader says of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """right: the answer is. timed_out: nobody could tell in time, or the grader died of it. note: what went wrong,
    or why the answer could not be compared."""

    right: bool
    timed_out: bool = False
    note: str = ""

    @property
    def remarks(self) -> dict[str, Any]:
        """What a step's info says of it, where there is something to say."""
        told = {"grader_timeout": self.timed_out, "grader_note": self.note}
        return {name: value for name, value in told.items() if value}
