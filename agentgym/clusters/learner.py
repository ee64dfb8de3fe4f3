"""The learner's actor: the trainer as in one process, and what its reporter is told, for the command line."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentgym import run
from agentgym.clusters.actor import Actor, Surroundings

if TYPE_CHECKING:
    from agentgym.clusters.folder import SharedFolder
    from agentgym.trainers.evaluate import Evaluation
    from agentgym.trainers.settings import Settings, Stage
    from agentgym.trainers.trainer import Watched

AWAKE = 0.5
"""Seconds after which news are told even if there are none, for the display of the oldest rollout."""


@dataclass(slots=True)
class News:
    """told: calls of the reporter, by name. oldest: the rollout that is played longest. over: nothing follows."""

    told: list[tuple[str, tuple[Any, ...]]]
    oldest: tuple[str, float] | None
    over: bool


@dataclass(slots=True)
class Notes:
    """A trainer's reporter that writes down what it is told."""

    told: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    managers: tuple[Watched, ...] = ()
    written: asyncio.Event = field(default_factory=asyncio.Event)

    def watch(self, *managers: Watched) -> None:
        """See `Reporter`."""
        self.managers = managers

    def stage(self, stage: Stage, steps: int, done: int) -> None:
        """See `Reporter`."""
        self._note("stage", stage, steps, done)

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        """See `Reporter`."""
        self._note("step", step, metrics)

    def evaluated(self, name: str, step: int, result: Evaluation) -> None:
        """See `Reporter`."""
        self._note("evaluated", name, step, result)

    def _note(self, name: str, *arguments: Any) -> None:
        self.told.append((name, arguments))
        self.written.set()

    def oldest(self) -> tuple[str, float] | None:
        """Of all managers."""
        found = [oldest for manager in self.managers if (oldest := manager.oldest())]
        return max(found, key=lambda episode: episode[1], default=None)


class Learner(Actor):
    """Owns the actors that its trainer makes: they end with it."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._notes = Notes()
        self._training: asyncio.Future[dict[str, Any]] | None = None
        self._over = False

    async def train(self, settings: Settings, folder: SharedFolder) -> dict[str, Any]:
        """The run; see `run.train_here`. Raises ConfigError where its folder is not that of the command line."""
        try:
            folder.check()
            run.check_components(settings)
            self._training = asyncio.ensure_future(run.train_here(settings, folder.path, self._notes))
            return await self._training
        finally:
            self._over = True
            self._notes.written.set()

    async def news(self) -> News:
        """What happened since the last call."""
        with suppress(TimeoutError):
            async with asyncio.timeout(AWAKE):
                await self._notes.written.wait()
        self._notes.written.clear()
        told, self._notes.told = self._notes.told, []
        return News(told, self._notes.oldest(), self._over)

    async def close(self) -> None:
        """Give up a run under way: its last whole step is saved, and its actors end."""
        if self._training is not None:
            self._training.cancel()
            await asyncio.wait([self._training])
