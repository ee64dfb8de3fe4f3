"""The application that plays OpenEnv's side of the WebSocket, and answers what is asked by HTTP."""

from __future__ import annotations

import asyncio
import inspect
import logging

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

import agentgym
from agentgym.env import EnvConfig
from agentgym.openenv import wire
from agentgym.openenv.episode import Episodes
from agentgym.openenv.settings import ServeEnv
from agentgym.openenv.wire import Refused
from agentgym.services import Services
from agentgym.serving.answer import answer
from agentgym.serving.token_guard import TokenGuard

MAX_UNANSWERED = 16
"""Frames that a client may send ahead."""
TRY_LATER = 1013

log = logging.getLogger(__name__)


class Connections:
    """All clients of one environment."""

    def __init__(self, config: EnvConfig, services: Services, settings: ServeEnv) -> None:
        self._config, self._services, self._settings = config, services, settings
        self._open: set[asyncio.Task[None]] = set()

    def app(self, token: str) -> ASGIApp:
        """The application. token: empty for none."""
        routes = [
            Route("/health", _health),
            Route("/schema", _schema),
            Route("/metadata", self._metadata),
            WebSocketRoute("/ws", self._connect),
        ]
        denied = lambda: log.warning("a client without the token, or a web page, was sent away")  # noqa: E731
        guard = [Middleware(TokenGuard, token=token, refused=denied)]
        return Starlette(routes=routes, middleware=guard)

    async def shut_down(self) -> None:
        """End every episode."""
        for conversation in self._open:
            conversation.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _metadata(self, request: Request) -> Response:
        name = type(self._config).__name__
        about = (inspect.getdoc(type(self._config)) or name).partition("\n\n")[0]
        return answer({"name": name, "description": about, "version": agentgym.__version__})

    async def _connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        limit = self._settings.max_connections
        if len(self._open) >= limit:
            text = f"{len(self._open)} episodes are open, the most this server allows"
            full = Refused("CAPACITY_REACHED", text, active_sessions=len(self._open), max_sessions=limit)
            await _end(websocket, full, TRY_LATER)
            return
        frames: asyncio.Queue[str] = asyncio.Queue(MAX_UNANSWERED)
        conversation = asyncio.create_task(self._converse(websocket, frames))
        self._open.add(conversation)
        conversation.add_done_callback(self._open.discard)
        reading = asyncio.create_task(_read(websocket, frames))
        try:  # whichever ends first ends the other: a client that hangs up ends the step that is under way
            await asyncio.wait({conversation, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            conversation.cancel()
            results = await asyncio.gather(reading, conversation, return_exceptions=True)
        for problem in results:
            if isinstance(problem, Refused):
                await _end(websocket, problem)
            elif isinstance(problem, Exception) and not isinstance(problem, WebSocketDisconnect):
                raise problem
        await _end(websocket)

    async def _converse(self, websocket: WebSocket, frames: asyncio.Queue[str]) -> None:
        episodes = Episodes(self._config, self._services, self._settings.max_timeout)
        idle = self._settings.max_idle
        try:
            while True:
                try:
                    text = await asyncio.wait_for(frames.get(), idle)
                except TimeoutError:
                    raise Refused("SESSION_ERROR", f"not a word for {idle:g} s; the episode is lost") from None
                reply = await _reply(episodes, text)
                if reply is None:
                    return
                await websocket.send_text(reply)
        finally:
            await episodes.close()


async def _read(websocket: WebSocket, frames: asyncio.Queue[str]) -> None:
    """Frames into the queue until the client hangs up; raises Refused when it does not wait for answers."""
    while True:
        text = await websocket.receive_text()
        try:
            frames.put_nowait(text)
        except asyncio.QueueFull:
            raise Refused("SESSION_ERROR", f"more than {MAX_UNANSWERED} frames wait for their answer") from None


async def _reply(episodes: Episodes, text: str) -> str | None:
    """The answer to a frame; None to the one that says goodbye."""
    try:
        match wire.read(text):
            case wire.Reset(data):
                return wire.write("observation", await episodes.reset(data))
            case wire.Step(action):
                return wire.write("observation", await episodes.step(action.message))
            case wire.State():
                return wire.write("state", episodes.state())
            case _:
                return None
    except Refused as problem:
        return wire.write("error", problem.data)


async def _end(websocket: WebSocket, problem: Refused | None = None, code: int = 1000) -> None:
    """Say why, where there is somebody left to tell, and hang up."""
    if WebSocketState.DISCONNECTED in (websocket.client_state, websocket.application_state):
        return
    try:
        if problem is not None:
            await websocket.send_text(wire.write("error", problem.data))
        await websocket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        return  # it has hung up meanwhile


async def _health(request: Request) -> Response:
    return answer({"status": "healthy"})


async def _schema(request: Request) -> Response:
    return answer(wire.SCHEMA)
