"""What a server refuses or has lost, as its client will see it."""

from __future__ import annotations

from typing import Literal

Kind = Literal["request", "lost", "too_large", "busy", "unavailable"]
STATUS: dict[Kind, int] = {"request": 400, "lost": 404, "too_large": 413, "busy": 429, "unavailable": 503}


class Problem(Exception):
    """A request that is not carried out; the text says why."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind: Kind = kind
