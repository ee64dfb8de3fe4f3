"""How long something was at work."""

from __future__ import annotations

import time
from types import TracebackType


class Busy:
    """A context that may be entered many times at once: the seconds in which it was."""

    def __init__(self) -> None:
        self._count = 0
        self._seconds = self._since = 0.0

    @property
    def seconds(self) -> float:
        """So far."""
        return self._seconds + (time.monotonic() - self._since if self._count else 0.0)

    def __enter__(self) -> None:
        if not self._count:
            self._since = time.monotonic()
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1
        if not self._count:
            self._seconds += time.monotonic() - self._since
