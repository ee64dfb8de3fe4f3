"""An environment with a tool behind openenv-core's server. It prints its address."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from episode import ANSWER
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State


class Said(Action):
    message: str


class Shown(Observation):
    prompt: str = ""


class Echo(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Shown:
        self._state = State(episode_id=episode_id)
        return Shown(prompt="Say hello.")

    def step(self, action: Said, timeout_s: float | None = None, **_: Any) -> Shown:
        self._state.step_count += 1
        if "<answer>" in action.message:
            return Shown(done=True, reward=float(f"\\boxed{{{ANSWER}}}" in action.message))
        said = action.message.partition("<echo>\n")[2].partition("\n</echo>")[0]
        return Shown(prompt=f"\n<result>\n{said}\n</result>\n", reward=0.0)

    @property
    def state(self) -> State:
        return self._state


if __name__ == "__main__":
    app = create_fastapi_app(Echo, Said, Shown, max_concurrent_envs=1 << 20)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="critical")  # it logs an error for every client that leaves
    uvicorn.Server(config).run(sockets=[listener])
