"""What the two sides of the `http` sandbox agree on: the bodies of requests, and errors as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentgym.errors import SandboxError
from agentgym.sandbox import Language

REQUEST_ID = "Idempotency-Key"
"""Header of every request that changes something: an id made by the client. The server works on an id once, and
answers a repeated request with the first one's result. A request that makes a session gives it its id."""

RETRIED = (429, 502, 503, 504)
"""Answers after which nothing has been done, so that the same request may be sent again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server allows. max_timeout, max_lease: seconds. max_body: bytes of a request."""

    max_timeout: float
    max_lease: float
    max_body: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Asks for a session. lease: seconds that it lives without a word from its client."""

    lease: float


@dataclass(frozen=True, slots=True)
class Renew:
    """Sessions whose client is still there."""

    sessions: list[str]


@dataclass(frozen=True, slots=True)
class Run:
    """A program, as in `Sandbox.run`."""

    code: str
    timeout: float | None = None
    language: Language = "python"
    output_limit: int | None = None


def to_json(error: SandboxError | OSError) -> tuple[int, dict[str, Any]]:
    """The status and body that tell the client of `error`."""
    if isinstance(error, OSError):
        parts = {"errno": error.errno, "strerror": error.strerror, "filename": error.filename}
        return 422, {"error": "os", "detail": str(error), **parts}
    return 500, {"error": "sandbox", "detail": str(error)}


def from_json(body: dict[str, Any]) -> SandboxError | OSError:
    """The error that `to_json` was given, with the same text; what the server refuses is a SandboxError here."""
    if body["error"] != "os":
        return SandboxError(body["detail"])
    if isinstance(body.get("errno"), int):
        return OSError(body["errno"], body["strerror"], body["filename"])
    return OSError(body["detail"])
