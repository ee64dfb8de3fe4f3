"""When a client that was sent away comes again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenacity import RetryCallState


class SentAway(Exception):
    """No answer yet, and maybe one to the next try. after: seconds the server wants to be left alone for."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


def wait(backoff: Callable[[RetryCallState], float]) -> Callable[[RetryCallState], float]:
    """Seconds until the next try: at least what the server asked for, and by `backoff` never the same for all
    clients."""

    def seconds(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return backoff(state) + (error.after if isinstance(error, SentAway) else 0.0)

    return seconds


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds; None where it is absent or a date. headers: of a response, found in any case."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None
