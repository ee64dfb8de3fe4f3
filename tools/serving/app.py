"""The HTTP side of a tool server: requests to actions, replies to answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from agentgym.serving.answer import answer
from agentgym.serving.app import application
from agentgym.serving.body import read_body
from agentgym.serving.problem import Problem
from agentgym.tools.serving.metrics import ToolMetrics
from agentgym.tools.serving.router import Router
from agentgym.tools.serving.settings import ServeTools
from agentgym.tools.serving.wire import Action


@dataclass(frozen=True, slots=True)
class Asked:
    """The body of a request: lists of one length. extra_fields: of each action, where `finish` and `is_last_step`
    may stand as well, and go before those beside it."""

    trajectory_ids: list[str | int]
    actions: list[str]
    extra_fields: list[dict[str, Any]] | None = None
    finish: list[bool] | None = None
    is_last_step: list[bool] | None = None

    def read(self) -> list[Action]:
        """The actions; raises Problem when the lists do not fit."""
        if not self.actions:
            raise Problem("request", "actions: there are none")
        for name in ("trajectory_ids", "extra_fields", "finish", "is_last_step"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.actions):
                raise Problem("request", f"{name}: {len(values)} for {len(self.actions)} actions")
        return [
            Action(str(id), self.actions[i], finish=self._flag("finish", i), last=self._flag("is_last_step", i))
            for i, id in enumerate(self.trajectory_ids)
        ]

    def _flag(self, name: str, i: int) -> bool:
        beside = getattr(self, name)
        fields = self.extra_fields[i] if self.extra_fields else {}
        return bool(fields.get(name, beside is not None and beside[i]))


def make_app(router: Router, settings: ServeTools, token: str, metrics: ToolMetrics) -> ASGIApp:
    """The application. token: empty for none."""
    api = Api(router, settings, metrics)
    metrics.watch("trajectories", "Trajectories that have begun and not ended.", lambda: len(router))
    metrics.watch("actions_open", "Actions that run or wait.", lambda: sum(map(len, router.workers)))
    metrics.watch("workers_ready", "Workers that take actions.", lambda: sum(w.ready for w in router.workers))
    metrics.watch("workers_restarted", "Workers started again.", lambda: sum(w.restarts for w in router.workers))
    routes = [
        Route("/get_observation", api.get_observation, methods=["POST"]),
        Route("/health", api.health),
    ]
    return application(routes, metrics, token)


class Api:
    """One method a route."""

    def __init__(self, router: Router, settings: ServeTools, metrics: ToolMetrics) -> None:
        self._router, self._settings, self._metrics = router, settings, metrics

    async def get_observation(self, request: Request) -> Response:
        actions = (await read_body(request, self._settings.max_body, Asked)).read()
        began = time.monotonic()
        replies = await self._router.act(actions)
        seconds = time.monotonic() - began
        self._metrics.seconds.observe(seconds)
        for reply in replies:
            self._metrics.actions.labels(str(reply.valid).lower(), str(reply.done).lower()).inc()
        return answer(
            {
                "observations": [reply.observation for reply in replies],
                "dones": [reply.done for reply in replies],
                "valids": [reply.valid for reply in replies],
                "processing_time_ms": 1e3 * seconds,
                "queue_time_ms": 1e3 * max(reply.waited for reply in replies),
            }
        )

    async def health(self, request: Request) -> Response:
        ready = [worker for worker in self._router.workers if worker.ready]
        tools = self._router.workers[0].tools
        status = "healthy" if len(ready) == len(self._router.workers) else "degraded"
        return answer({"status": status, "tools": tools, "workers": len(ready), "trajectories": len(self._router)})
