"""What the two sides of the `http` sandbox agree on: the bodies of requests, and errors as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agentgym.errors import SandboxError
from agentgym.sandbox import Language

REQUEST_ID = "Idempotency-Key"
"""Header of every request that changes something: an id made by the client. The server works on an id once, and
answers a repeated request with the first one's result. A request that makes a session gives it its id."""

Kind = Literal["request", "denied", "lost", "too_large", "os", "busy", "sandbox", "unavailable"]
STATUS: dict[Kind, int] = {
    "request": 400,
    "denied": 401,
    "lost": 404,
    "too_large": 413,
    "os": 422,
    "busy": 429,
    "sandbox": 500,
    "unavailable": 503,
}
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


class Problem(SandboxError):
    """What the server refuses or has lost, as its client will see it."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind: Kind = kind


def to_json(error: SandboxError | OSError) -> tuple[int, dict[str, Any]]:
    """The status and body that tell the client of `error`."""
    if isinstance(error, OSError):
        parts = {"errno": error.errno, "strerror": error.strerror, "filename": error.filename}
        return STATUS["os"], {"error": "os", "detail": str(error), **parts}
    kind: Kind = error.kind if isinstance(error, Problem) else "sandbox"
    return STATUS[kind], {"error": kind, "detail": str(error)}


def from_json(body: dict[str, Any]) -> SandboxError | OSError:
    """The error that `to_json` was given, with the same text; a Problem is a SandboxError here."""
    if body["error"] != "os":
        return SandboxError(body["detail"])
    if isinstance(body.get("errno"), int):
        return OSError(body["errno"], body["strerror"], body["filename"])
    return OSError(body["detail"])
