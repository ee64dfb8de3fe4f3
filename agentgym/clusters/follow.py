"""The command line's side of a run whose learner is an actor: shows how it goes, makes it anew when it is lost."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from agentgym.clusters.actor import place
from agentgym.clusters.calls import Lost, answer
from agentgym.clusters.connection import connected
from agentgym.clusters.fleet import clear_rooms, room
from agentgym.clusters.folder import SharedFolder, shared
from agentgym.clusters.learner import Learner, News
from agentgym.errors import ClusterError
from agentgym.trainers.checkpoint import latest

if TYPE_CHECKING:
    from agentgym.clusters.ray import Ray
    from agentgym.trainers.settings import Settings
    from agentgym.trainers.trainer import Reporter

log = logging.getLogger("agentgym")


class Oldest:
    """What the learner last said of its oldest rollout."""

    def __init__(self) -> None:
        self.told: tuple[str, float] | None = None

    def oldest(self) -> tuple[str, float] | None:
        """See `Watched`."""
        return self.told


async def train(config: Ray, settings: Settings, path: Path, reporter: Reporter) -> dict[str, Any]:
    """See `Cluster.train`. Raises ClusterError where the learner is lost at one place more often than `retries`
    allows, and once more."""
    losses, reached = 0, None
    with shared(path) as folder, connected(config):
        settings = dataclasses.replace(settings, output_dir=str(folder.path.parent), run_name=folder.path.name)
        while True:
            try:
                async with _learner(config) as learner:
                    return await _follow(learner, settings, folder, reporter)
            except Lost as error:
                before, reached = reached, latest(folder.path / "checkpoints")
                losses = losses + 1 if reached == before else 1
                if losses > settings.retries + 1:
                    raise ClusterError(f"the learner was lost {losses} times at one place: {error}") from error
                where = reached.name if reached else "the beginning, for want of a checkpoint (see save_every)"
                log.warning("the learner was lost; it is made anew, and goes on from %s (%s)", where, error)
                settings = dataclasses.replace(settings, resume=True)


@asynccontextmanager
async def _learner(config: Ray) -> AsyncIterator[Any]:
    """The actor; at exit it ends, a run under way in order."""
    async with room(config, "learner", 1, config.learner) as group:
        learner = place(Learner, config.learner, group, 0)
        try:
            yield learner
        finally:
            with suppress(Lost):
                await answer(learner.close.remote())
            ray.kill(learner)
            clear_rooms(learner)


async def _follow(learner: Any, settings: Settings, folder: SharedFolder, reporter: Reporter) -> dict[str, Any]:
    """Tell the reporter until the run is over; the evaluations by stage."""
    watched = Oldest()
    reporter.watch(watched)
    evaluations = learner.train.remote(settings, folder)
    over = False
    while not over:
        news: News = await answer(learner.news.remote())
        for name, arguments in news.told:
            getattr(reporter, name)(*arguments)
        watched.told, over = news.oldest, news.over
    found: dict[str, Any] = await answer(evaluations)
    return found
