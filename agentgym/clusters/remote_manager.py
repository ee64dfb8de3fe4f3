"""The rollout manager whose groups env workers play."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentgym.busy import Busy
from agentgym.clusters.calls import Lost, answer
from agentgym.clusters.crew import Crew
from agentgym.clusters.env_worker import Job
from agentgym.renderer import Renderer
from agentgym.rollout.failures import check_share
from agentgym.rollout.manager import Played, seeds
from agentgym.services import Services
from agentgym.types import Group, Outcome, Task, Tokens, Turn

if TYPE_CHECKING:
    from agentgym.rollout.strategy import RolloutStrategy
    from agentgym.trainers.settings import Settings

log = logging.getLogger("agentgym")

SHARED = 2
"""Losses of a group after which it is played alone: what dies with it then dies of it."""


class RemoteManager:
    """What the trainer sees in place of a `Manager`.

    A group that is lost with its worker is played again, from the same seed. services: of this process, for
    signals. sampling: how long groups were played.
    """

    def __init__(
        self, crew: Crew, renderer: Renderer, services: Services, settings: Settings, temperature: float
    ) -> None:
        self.crew, self.renderer, self.services = crew, renderer, services
        self.settings, self.temperature = settings, temperature
        self.outcomes: Counter[Outcome] = Counter()
        self.sampling = Busy()
        self.running: dict[str, float] = {}

    async def run(
        self, strategy: RolloutStrategy, tasks: Sequence[tuple[str, Task]], seed: int, group_size: int
    ) -> list[Group]:
        """See `Manager`. Raises ClusterError as well."""
        jobs = [
            Job(group_id, task, own, strategy, group_size, self.temperature)
            for (group_id, task), own in zip(tasks, seeds(seed, len(tasks)), strict=True)
        ]
        with self.sampling:
            async with asyncio.TaskGroup() as running:
                plays = [running.create_task(self._play(job)) for job in jobs]
        played = [play.result() for play in plays]
        self.outcomes = sum((part.outcomes for part in played), Counter[Outcome]())
        errors = (part.error for part in played if part.error)
        check_share(self.outcomes, self.settings.max_error_frac, next(errors, ""))
        return [group for part in played for group in part.groups]

    async def _play(self, job: Job) -> Played:
        room = max(1, self.settings.concurrency // job.group_size)
        losses = 0
        while True:
            alone = losses >= SHARED
            seat = await self.crew.take(room, alone)
            self.running[job.id] = time.monotonic()
            try:
                played: Played = await answer(seat.worker.play.remote(job))
                return played
            except Lost as error:
                self.crew.lose(seat.worker)
                losses += 1
                log.debug("group %s was lost with its env worker: %s", job.id, error)
                if losses > SHARED + self.settings.retries:
                    return self._give_up(job, losses, error)
            finally:
                del self.running[job.id]
                self.crew.give_back(seat)

    def _give_up(self, job: Job, losses: int, error: Lost) -> Played:
        """All of the group's episodes are failures of the machinery."""
        reason = f"{losses} env workers were lost with group {job.id}, those at the end with it alone: {error}"
        log.warning("%s", reason)
        turns = [
            Turn(None, Tokens(()), Tokens(()), outcome=Outcome.ENV_ERROR, info={"error": reason})
            for _ in range(job.group_size)
        ]
        outcomes = Counter({Outcome.ENV_ERROR: job.group_size})
        return Played([Group(job.id, job.task, turns)], outcomes, f"{Outcome.ENV_ERROR} ({reason})")

    def oldest(self) -> tuple[str, float] | None:
        """Name and age in seconds of the group that has been played longest."""
        running = list(self.running.items())
        if not running:
            return None
        name, started = min(running, key=lambda item: item[1])
        return name, time.monotonic() - started
