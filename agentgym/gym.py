"""Environments outside of a training run: `make`, `make_vec` and the Gymnasium registry."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from agentgym.config import build, names
from agentgym.env import Env, EnvConfig, StepResult
from agentgym.services import Services
from agentgym.types import Observation

T = TypeVar("T")


def make(name: str, **fields: Any) -> Env:
    """An environment by name, with services of its own: they close with it and with its last fork."""
    return _config(name, fields).make(OwnServices())


def make_vec(name: str, n: int, **fields: Any) -> VectorEnv:
    """`n` environments of one kind that share their services and step at the same time."""
    return VectorEnv(_config(name, fields), n)


def register_gymnasium() -> None:
    """Make `gymnasium.make("agentgym/<name>-v0")` work for every environment; a second call changes nothing.

    Importing `agentgym.gymnasium_env` calls it, so that
    `gymnasium.make("agentgym.gymnasium_env:agentgym/retool-v0")` needs no other line.
    """
    from gymnasium.envs.registration import register, registry

    for name in names("env"):
        if f"agentgym/{name}-v0" not in registry:
            register(
                id=f"agentgym/{name}-v0",
                entry_point="agentgym.gymnasium_env:GymnasiumEnv",
                kwargs={"name": name},
            )


def as_text(observation: Observation) -> str:
    """The observation itself, or its messages as `role: content` lines."""
    if isinstance(observation, str):
        return observation
    return "\n".join(f"{message['role']}: {message['content']}" for message in observation)


def _config(name: str, fields: Mapping[str, Any]) -> EnvConfig:
    config: EnvConfig = build("env", {"name": name, **fields})
    return config


class OwnServices(Services):
    """Services that close when the last environment on them does."""

    def __init__(self) -> None:
        super().__init__()
        self._users: WeakSet[object] = WeakSet()

    def join(self, user: object) -> None:
        self._users.add(user)

    async def leave(self, user: object) -> None:
        self._users.discard(user)
        if not self._users:
            await self.close()


class VectorStep(NamedTuple):
    """What a vector's step returns: lists with one entry an environment."""

    observations: list[Observation]
    rewards: list[float]
    terminations: list[bool]
    truncations: list[bool]
    infos: list[dict[str, Any]]


class VectorEnv:
    """`n` episodes at a time. An episode that has ended waits for the next `reset` of all."""

    def __init__(self, config: EnvConfig, n: int) -> None:
        if n < 1:
            raise ValueError(f"a vector needs at least 1 environment, not {n}")
        services = OwnServices()
        self.envs = [config.make(services) for _ in range(n)]
        self._last = [StepResult("", 0.0, False, False, {})] * n

    async def reset(
        self, *, seed: int | None = None, options: Sequence[Mapping[str, Any] | None] | None = None
    ) -> tuple[list[Observation], list[dict[str, Any]]]:
        """Start every episode: environment i with `seed + i` and `options[i]`."""
        given = [None] * len(self.envs) if options is None else options
        jobs = [
            env.reset(seed=None if seed is None else seed + i, options=option)
            for i, (env, option) in enumerate(zip(self.envs, given, strict=True))
        ]
        results = await _all(jobs)
        self._last = [StepResult(observation, 0.0, False, False, info) for observation, info in results]
        return [observation for observation, _ in results], [info for _, info in results]

    async def step(self, actions: Sequence[str | None]) -> VectorStep:
        """Apply one action to each environment. None leaves one alone: nothing new, no reward, the same flags."""
        pairs = zip(range(len(self.envs)), actions, strict=True)
        self._last = await _all([self._step(i, action) for i, action in pairs])
        return VectorStep(*(list(column) for column in zip(*self._last, strict=True)))

    async def close(self) -> None:
        """Close every environment and what they share; may be called twice."""
        await _all([env.close() for env in self.envs])

    async def _step(self, i: int, action: str | None) -> StepResult:
        if action is None:
            return self._last[i]._replace(observation="", reward=0.0, info={})
        return await self.envs[i].step(action)


async def _all(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Every job's result; the first error is raised after all have ended."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]
