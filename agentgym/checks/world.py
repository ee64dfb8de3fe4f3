"""Environments under test, and the three ways to play one: on script, silently, and up to a fork."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from agentgym.checks.harness import Broken
from agentgym.env import Env, EnvConfig, StepResult
from agentgym.services import Services
from agentgym.types import Observation

SILENT_TURNS = 64
SEEDS = range(16)


class Episode(NamedTuple):
    """All that an episode showed."""

    task: str
    opening: Observation
    results: list[StepResult]

    @property
    def total(self) -> float:
        """Sum of rewards."""
        return sum(result.reward for result in self.results)


@dataclass(frozen=True, slots=True)
class World:
    """Makes environments that share services; all are closed when the world is left."""

    config: EnvConfig
    services: Services
    stack: AsyncExitStack

    def make(self) -> Env:
        """A fresh environment."""
        return self.adopt(self.config.make(self.services))

    def adopt(self, env: Env) -> Env:
        """Close this one as well."""
        self.stack.push_async_callback(env.close)
        return env


@asynccontextmanager
async def open_world(config: EnvConfig) -> AsyncIterator[World]:
    """A world with services of its own."""
    async with Services() as services, AsyncExitStack() as stack:
        yield World(config, services, stack)


async def play(env: Env, seed: int) -> Episode:
    """A demonstrated episode. Raises Broken without a demonstrator, and when it stops before the end."""
    opening, info = await env.reset(seed=seed)
    try:
        script = env.demonstrate(random.Random(seed))
        action = next(script)
    except NotImplementedError as error:
        raise Broken(f"{error}: nothing shows that its tasks can be solved") from error
    results: list[StepResult] = []
    while True:
        results.append(await env.step(action))
        if over(results[-1]):
            return Episode(info["task"], opening, results)
        try:
            action = script.send(results[-1].observation)
        except StopIteration:
            raise Broken(f"the demonstrator stops after turn {len(results)}, before the episode ends") from None


async def stay_silent(env: Env, seed: int) -> float:
    """The return of a policy that says nothing, turn after turn."""
    await env.reset(seed=seed)
    total = 0.0
    for _ in range(SILENT_TURNS):
        result = await env.step("")
        total += result.reward
        if over(result):
            return total
    return total + env.unfinished_reward()


@dataclass(frozen=True, slots=True)
class Middle:
    """The middle of an episode: how to get there, and an action that goes on from there."""

    seed: int
    actions: tuple[str, ...]
    action: str

    async def reach(self, env: Env) -> Env:
        """Bring `env` there."""
        await env.reset(seed=self.seed)
        for action in self.actions:
            await env.step(action)
        return env


async def find_middle(world: World) -> Middle:
    """After the demonstrator's first action in the first episode that outlives it, else at a start."""
    env = world.make()
    for seed in SEEDS:
        await env.reset(seed=seed)
        action = _first_action(env, seed)
        if not over(await env.step(action)):
            return Middle(seed, (action,), action)
    return Middle(SEEDS[0], (), action)


def _first_action(env: Env, seed: int) -> str:
    try:
        return next(env.demonstrate(random.Random(seed)))
    except NotImplementedError:
        return "hello"


def over(result: StepResult) -> bool:
    """Whether the episode has ended."""
    return result.terminated or result.truncated
