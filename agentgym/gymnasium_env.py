"""The synchronous view of an environment that Gymnasium knows as `agentgym/<name>-v0`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import gymnasium

from agentgym.gym import as_text, make, register_gymnasium

T = TypeVar("T")


class GymnasiumEnv(gymnasium.Env[str, str]):
    """Runs the asynchronous environment on an event loop in a thread of its own. Observations are text:
    chat messages become `role: content` lines."""

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's form)

    def __init__(self, name: str, render_mode: str | None = None, **fields: Any) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r}: the observations are text already")
        self.env = make(name, **fields)
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self._loop: asyncio.AbstractEventLoop | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start `options["task"]`, or a task drawn with `seed`; without one, the next of the last seed's."""
        super().reset(seed=seed)
        episode = int(self.np_random.integers(2**31))
        observation, info = self._wait(self.env.reset(seed=episode, options=options))
        return as_text(observation), info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Apply what the policy said."""
        result = self._wait(self.env.step(action))
        return as_text(result.observation), float(result.reward), result.terminated, result.truncated, result.info

    def close(self) -> None:
        """Close the environment, its services and the thread; may be called twice."""
        if self._loop is None:
            return
        self._wait(self.env.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    def _wait(self, job: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="agentgym", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(job, self._loop).result()


register_gymnasium()
