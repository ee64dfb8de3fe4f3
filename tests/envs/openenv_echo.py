"""A server made with OpenEnv's own SDK; prints its port. `python openenv_echo.py`"""

from __future__ import annotations

import socket

import uvicorn
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State


class Say(Action):
    message: str


class Heard(Observation):
    echo: str
    length: int = 0


class Echo(Environment[Say, Heard, State]):
    """Echoes until it hears "bye"; pays 1 for what is as long as the seed says."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._seed = 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: object) -> Heard:
        self._seed = (seed or 0) % 10
        return Heard(echo=f"Say something {self._seed} long")

    def step(self, action: Say, timeout_s: float | None = None, **_: object) -> Heard:
        text = action.message
        reward = float(len(text) == self._seed)
        return Heard(echo=text, length=len(text), reward=reward, done=text == "bye")

    @property
    def state(self) -> State:
        return State()


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = create_fastapi_app(Echo, Say, Heard, max_concurrent_envs=4)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])
