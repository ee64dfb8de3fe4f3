"""The environment behind one connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

from agentgym.env import Env, EnvConfig
from agentgym.openenv import wire
from agentgym.openenv.wire import Refused
from agentgym.services import Services

T = TypeVar("T")

CLOSING_SECONDS = 30.0

log = logging.getLogger(__name__)


class Episodes:
    """One episode at a time. max_timeout: seconds that a reset or step may take."""

    def __init__(self, config: EnvConfig, services: Services, max_timeout: float) -> None:
        self._config, self._services, self._max_timeout = config, services, max_timeout
        self._env: Env | None = None
        self._id, self._steps, self._over = "", 0, False

    async def reset(self, asked: wire.ResetData) -> dict[str, Any]:
        """Begin an episode; raises Refused."""
        env = self._env = self._env or self._config.make(self._services)
        observation, info = await self._within(lambda: env.reset(seed=asked.seed))
        self._id, self._steps, self._over = asked.episode_id or uuid4().hex, 0, False
        return wire.opening(observation, info["seed"])

    async def step(self, message: str) -> dict[str, Any]:
        """Go on with it; raises Refused."""
        env = self._env
        if env is None or not self._id:
            raise Refused("EXECUTION_ERROR", "there is no episode: reset comes first, and after a failure again")
        if self._over:
            raise Refused("EXECUTION_ERROR", "the episode has ended: reset begins another")
        result = await self._within(lambda: env.step(message))
        self._steps, self._over = self._steps + 1, result.terminated or result.truncated
        return wire.outcome(result)

    def state(self) -> dict[str, Any]:
        """What OpenEnv calls the state."""
        return {"episode_id": self._id or None, "step_count": self._steps}

    async def close(self) -> None:
        """End the episode and free what it holds; may be called twice."""
        env, self._env, self._id = self._env, None, ""
        if env is not None:
            async with asyncio.timeout(CLOSING_SECONDS):
                await env.close()

    async def _within(self, work: Callable[[], Awaitable[T]]) -> T:
        """`work` under the deadline. An episode that failed is over, and its environment is not used again."""
        deadline = asyncio.timeout(self._max_timeout)
        try:
            async with deadline:
                return await work()
        except Exception as error:
            await self.close()
            if deadline.expired():
                text = f"no answer from the environment within {self._max_timeout:g} s; the episode is lost"
                raise Refused("EXECUTION_ERROR", text) from error
            log.warning("the environment failed", exc_info=error)
            raise Refused("EXECUTION_ERROR", f"the environment failed: {type(error).__name__}: {error}") from error
