"""The actors of a role, each of which is made anew when it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import ray
from ray.util import placement_group, remove_placement_group

from agentgym.clusters.calls import Actor, Lost, answer, bundle, place
from agentgym.errors import ClusterError

if TYPE_CHECKING:
    from agentgym.clusters.ray import Ray, Share

log = logging.getLogger("agentgym")

TRIES = 3
"""Losses before an actor was ever up: more are not bad luck."""

PAUSE = 5.0
"""Seconds before the next try where an actor made anew did not come up."""

ENDING = 30.0
"""Seconds that an actor has to close what it holds."""


class Fleet:
    """`count` actors in a placement group of their own.

    up: prepares an actor and has it used; down: has it used no more.
    """

    def __init__(
        self,
        config: Ray,
        role: type[Actor],
        name: str,
        count: int,
        share: Share,
        up: Callable[[int, Any], Awaitable[None]],
        down: Callable[[int, Any], None],
    ) -> None:
        self.config, self.role, self.name, self.count, self.share = config, role, name, count, share
        self.up, self.down = up, down
        self._actors: dict[int, Any] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All are up; at exit all end. Raises ClusterError where there is no room for them, and what an actor
        raised that could not be prepared."""
        group = placement_group([bundle(self.share)] * self.count, strategy=self.config.strategy)
        loop = asyncio.get_running_loop()
        first = [loop.create_future() for _ in range(self.count)]
        keepers = [asyncio.create_task(self._keep(group, slot, first[slot])) for slot in range(self.count)]
        try:
            await self._all_up(first)
            yield
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await asyncio.gather(*(self._end(actor) for actor in self._actors.values()))
            remove_placement_group(group)

    async def _all_up(self, first: list[asyncio.Future[None]]) -> None:
        try:
            async with asyncio.timeout(self.config.patience):
                await asyncio.gather(*first)
        except TimeoutError as error:
            there = sum(each.done() for each in first)
            raise ClusterError(
                no_room(self.config, f"{there} of {self.count} {self.name}s", self.share)
            ) from error

    async def _keep(self, group: Any, slot: int, first: asyncio.Future[None]) -> None:
        losses = 0
        while True:
            actor = self._actors[slot] = place(self.role, self.share, group, slot)
            came_up = False
            try:
                await self.up(slot, actor)
                came_up = True
                if not first.done():
                    first.set_result(None)
                await answer(actor.live.remote())
            except Exception as error:
                self.down(slot, actor)
                ray.kill(actor)
                losses += 1
                if not first.done() and (losses == TRIES or not isinstance(error, Lost)):
                    first.set_exception(error)
                    return
                log.warning("%s %d was lost; it is made anew (%s)", self.name, slot, error)
                await asyncio.sleep(0 if came_up else PAUSE)

    async def _end(self, actor: Any) -> None:
        with suppress(Lost, TimeoutError):
            async with asyncio.timeout(ENDING):
                await answer(actor.close.remote())
        ray.kill(actor)


def no_room(config: Ray, what: str, share: Share) -> str:
    """Why there are not enough actors."""
    has = ray.cluster_resources()
    return (
        f"after {config.patience:g} s (cluster.patience) {what} are up. Each takes {share.cpus:g} CPUs and "
        f"{share.gpus:g} GPUs, all actors take {config.cpus:g} CPUs, and the cluster has {has.get('CPU', 0):g} "
        f"CPUs and {has.get('GPU', 0):g} GPUs"
    )
