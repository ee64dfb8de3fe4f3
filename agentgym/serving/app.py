"""The application of a server: its routes, and what ours have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from agentgym.serving.answer import answer
from agentgym.serving.metrics import MEDIA_TYPE, Metrics
from agentgym.serving.problem import STATUS, Problem
from agentgym.serving.token_guard import TokenGuard

Handler = Callable[[Request, Exception], Awaitable[Response]]


def application(
    routes: Sequence[Route],
    metrics: Metrics,
    token: str,
    failures: Mapping[type[Exception], Handler] | None = None,
) -> ASGIApp:
    """These routes and `/metrics`, for those who show the token; empty for none. failures: what is answered to
    errors of the server's own; a Problem is counted as a refusal, and a client that is gone is no error."""

    async def read_metrics(request: Request) -> Response:
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        metrics.refusals.labels(error.kind).inc()
        return answer({"error": error.kind, "detail": str(error)}, STATUS[error.kind])

    handlers: dict[Any, Any] = {
        **(failures or {}),
        Problem: refuse,
        HTTPException: _not_found,
        ClientDisconnect: lambda request, error: Response(status_code=400),
    }
    guard = Middleware(TokenGuard, token=token, refused=metrics.refusals.labels("denied").inc)
    return Starlette(
        routes=[*routes, Route("/metrics", read_metrics)], exception_handlers=handlers, middleware=[guard]
    )


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer({"error": "request", "detail": error.detail}, error.status_code)
