"""The HTTP side of a sandbox server: requests to calls, errors to answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from agentgym.errors import SandboxError
from agentgym.sandbox import ExecResult, Sandbox, SandboxConfig
from agentgym.sandboxes.remote.wire import Lease, Renew, Run, to_json
from agentgym.sandboxes.serving.asked import file_path, request_id
from agentgym.sandboxes.serving.metrics import SandboxMetrics
from agentgym.sandboxes.serving.sessions import Session, Sessions
from agentgym.sandboxes.serving.settings import Serve
from agentgym.serving.answer import answer
from agentgym.serving.app import application
from agentgym.serving.body import read_body, read_bytes
from agentgym.serving.problem import Problem

T = TypeVar("T")

GRACE = 30.0
"""Seconds beyond a program's own timeout in which the sandbox must have ended it."""


def make_app(
    sandbox: SandboxConfig, sessions: Sessions, settings: Serve, token: str, metrics: SandboxMetrics
) -> ASGIApp:
    """The application. token: empty for none."""
    metrics.watch("sessions", "Sessions open.", lambda: len(sessions))
    metrics.watch("running", "Calls running.", lambda: sessions.gate.running)
    metrics.watch("waiting", "Calls waiting for a slot.", lambda: sessions.gate.waiting)
    api = Api(sandbox, sessions, settings, metrics)
    one = "/v1/sessions/{session}"
    routes = [
        Route("/health", api.health),
        Route("/v1", api.limits),
        Route("/v1/protections", api.protections),
        Route("/v1/sessions", api.open, methods=["POST"]),
        Route("/v1/renew", api.renew, methods=["POST"]),
        Route(one, api.close, methods=["DELETE"]),
        Route(f"{one}/run", api.run, methods=["POST"]),
        Route(f"{one}/fork", api.fork, methods=["POST"]),
        Route(f"{one}/calls/{{call}}", api.cancel, methods=["DELETE"]),
        Route(f"{one}/file", api.read, methods=["GET"]),
        Route(f"{one}/file", api.write, methods=["PUT"]),
    ]
    return application(routes, metrics, token, {SandboxError: failed, OSError: failed})


async def failed(request: Request, error: Exception) -> Response:
    """What is answered to an error of the sandbox's, or of the system's."""
    assert isinstance(error, (SandboxError, OSError))
    status, body = to_json(error)
    return answer(body, status)


class Api:
    """One method a route."""

    def __init__(
        self, sandbox: SandboxConfig, sessions: Sessions, settings: Serve, metrics: SandboxMetrics
    ) -> None:
        self._sandbox, self._sessions, self._settings, self._metrics = sandbox, sessions, settings, metrics

    async def health(self, request: Request) -> Response:
        return answer({"status": "ok"})

    async def limits(self, request: Request) -> Response:
        return answer(asdict(self._settings.limits))

    async def protections(self, request: Request) -> Response:
        work = self._sessions.within(self._sandbox.protections, self._settings.max_timeout)
        return answer([asdict(protection) for protection in await work])

    async def open(self, request: Request) -> Response:
        lease = self._lease(await read_body(request, self._settings.max_body, Lease))
        with self._metrics.call("open"):
            sandbox = await self._sessions.open(request_id(request), lease)
        return answer({"calls": sandbox.calls})

    async def fork(self, request: Request) -> Response:
        lease = self._lease(await read_body(request, self._settings.max_body, Lease))
        _, sandbox = self._session(request)
        with self._metrics.call("fork"):
            twin = await self._sessions.open(request_id(request), lease, sandbox.fork)
        return answer({"calls": twin.calls})

    async def renew(self, request: Request) -> Response:
        self._sessions.renew((await read_body(request, self._settings.max_body, Renew)).sessions)
        return Response(status_code=204)

    async def close(self, request: Request) -> Response:
        await self._sessions.close(request.path_params["session"])
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        session, _ = self._session(request)
        await session.replies.cancel(request.path_params["call"])
        return Response(status_code=204)

    async def run(self, request: Request) -> Response:
        body = await read_body(request, self._settings.max_body, Run)
        longest = self._settings.max_timeout
        timeout = longest if body.timeout is None else body.timeout
        if not 0 < timeout <= longest:
            raise Problem("request", f"timeout: {timeout:g} s; this server allows above 0 and up to {longest:g} s")
        session, sandbox = self._session(request)

        async def program() -> ExecResult:
            limit = body.output_limit
            return await sandbox.run(body.code, body.timeout, language=body.language, output_limit=limit)

        async def work() -> dict[str, Any]:
            with self._metrics.call("run") as status:
                result = await self._sessions.within(program, timeout + GRACE)
                status[0] = result.status
                return {**asdict(result), "calls": sandbox.calls}

        reply = await session.replies.once(request_id(request), work)
        session.renew()
        return answer(reply)

    async def write(self, request: Request) -> Response:
        data = await read_bytes(request, self._settings.max_body)
        path = file_path(request)
        session, sandbox = self._session(request)
        work = lambda: self._file("write", lambda: sandbox.write(path, data))  # noqa: E731
        await session.replies.once(request_id(request), work)
        return Response(status_code=204)

    async def read(self, request: Request) -> Response:
        path = file_path(request)
        _, sandbox = self._session(request)
        data = await self._file("read", lambda: sandbox.read(path))
        return Response(data, media_type="application/octet-stream")

    def _session(self, request: Request) -> tuple[Session, Sandbox]:
        return self._sessions.get(request.path_params["session"])

    async def _file(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        with self._metrics.call(name):
            return await self._sessions.within(work, self._settings.max_timeout)

    def _lease(self, body: Lease) -> float:
        longest = self._settings.max_lease
        if not 0 < body.lease <= longest:
            raise Problem(
                "request", f"lease: {body.lease:g} s; this server allows above 0 and up to {longest:g} s"
            )
        return body.lease
