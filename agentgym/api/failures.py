"""Why there is no answer: what may pass, and what will not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Fault = Literal["settings", "request", "context", "filtered"]
"""Whose it is: of what the run was told (a key, a model, an address), of this request, of a conversation that is
too long, of one that a filter takes offence at."""

SHOWN = 500
"""Characters of an answer that an error quotes."""

_CONTEXT = re.compile(
    r"context[ _](length|window|size)|maximum (sequence|model|input|prompt) length|(prompt|input) (is )?too long",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content[ _](filter|policy|management)|moderation", re.IGNORECASE)


class ApiFailure(Exception):
    """There is no answer."""


class Later(ApiFailure):
    """There may be one to the next try. after: seconds the server wants to be left alone for."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Nonsense(Later):
    """What came is no completion."""


class Refusal(ApiFailure):
    """There will be none."""

    def __init__(self, reason: str, fault: Fault) -> None:
        super().__init__(reason)
        self.fault = fault


class Unfit(ValueError):
    """What came is no answer."""


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiFailure:
    """What a response other than 200 means."""
    code, message = _read(body)
    said = f"{status}: {message[:SHOWN]}"
    if status == 429 and code != "insufficient_quota":
        return Later(said, _after(headers))
    if status in (408, 409, 425) or status >= 500:
        return Later(said, _after(headers))
    if status in (400, 403, 413, 422):
        if code == "context_length_exceeded" or _CONTEXT.search(message):
            return Refusal(said, "context")
        if _FILTERED.search(f"{code} {message}"):
            return Refusal(said, "filtered")
    return Refusal(said, "request" if status in (400, 413, 422) else "settings")


def _read(body: bytes) -> tuple[str, str]:
    """Code and message of an error, of which every server has a form of its own."""
    text = body.decode(errors="replace")
    try:
        value: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "", text
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return "", str(error)
    return str(error.get("code", "")), str(error.get("message") or text)


def _after(headers: Mapping[str, str]) -> float:
    """Seconds, from either header; dates are left to our own pace."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(float(headers.get(name, "")), 0.0) / unit
        except ValueError:
            continue
    return 0.0
