"""Why there is no answer: what may pass, and what will not."""

from __future__ import annotations

from typing import Literal

from agentgym.retry import SentAway

Fault = Literal["settings", "request", "context", "filtered"]
"""Whose it is: of what the run was told (a key, a model, an address), of this request, of a conversation that is
too long, of one that a filter takes offence at."""

SHOWN = 500
"""Characters of an answer that an error quotes."""


class ApiFailure(Exception):
    """There is no answer."""


class Later(ApiFailure, SentAway):
    """There may be one to the next try. status: HTTP's, of a server that said so; 0 where it said nothing."""

    def __init__(self, reason: str, after: float = 0.0, status: int = 0) -> None:
        super().__init__(reason, after)
        self.status = status


class Nonsense(Later):
    """What came is no completion."""


class Refusal(ApiFailure):
    """There will be none."""

    def __init__(self, reason: str, fault: Fault) -> None:
        super().__init__(reason)
        self.fault = fault


class Unfit(ValueError):
    """What came is no answer."""
