"""JSON answers."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

RETRY_AFTER = 1
"""Seconds after which a client that was sent away may try again."""


def answer(body: Any, status: int = 200) -> Response:
    """A JSON answer, which says when to come again where that helps. ASCII, so that any text goes through."""
    headers = {"Retry-After": str(RETRY_AFTER)} if status in (429, 503) else None
    return Response(json.dumps(body).encode(), status, headers, "application/json")
