"""What the errors of the package openai mean."""

from __future__ import annotations

import re
from collections.abc import Mapping

import openai

from agentgym.api.failures import SHOWN, ApiFailure, Later, Nonsense, Refusal

_CONTEXT = re.compile(
    r"context[ _](length|window|size)|maximum (sequence|model|input|prompt) length|(prompt|input) (is )?too long",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content[ _](filter|policy|management)|moderation", re.IGNORECASE)


def failure_of(error: openai.APIError) -> ApiFailure:
    """What may pass, and what will not."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        return Later(f"{type(cause).__name__}: {cause}")
    return Nonsense(f"the stream tells of an error: {error.message[:SHOWN]}")


def _of_status(error: openai.APIStatusError) -> Later | Refusal:
    told = error.body.get("message") if isinstance(error.body, dict) else error.body
    message = str(told or error.response.text)
    status, said = error.status_code, f"{error.status_code}: {message[:SHOWN]}"
    if status == 429 and error.code != "insufficient_quota":
        return Later(said, _after(error.response.headers), status)
    if status in (408, 409, 425) or status >= 500:
        return Later(said, _after(error.response.headers), status)
    if status in (400, 403, 413, 422):
        if error.code == "context_length_exceeded" or _CONTEXT.search(message):
            return Refusal(said, "context")
        if _FILTERED.search(f"{error.code} {message}"):
            return Refusal(said, "filtered")
    return Refusal(said, "request" if status in (400, 413, 422) else "settings")


def _after(headers: Mapping[str, str]) -> float:
    """Seconds, from either header; dates are left to our own pace."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(float(headers.get(name, "")), 0.0) / unit
        except ValueError:
            continue
    return 0.0
