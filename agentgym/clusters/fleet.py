"""The actors of a role, each of which is made anew when it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import ray
from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group

from agentgym.clusters.actor import Actor, place
from agentgym.clusters.calls import Lost, answer
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
        self._group: Any = None
        self._there: dict[int, Any] = {}  # those that have a process

    @asynccontextmanager
    async def reserved(self) -> AsyncIterator[None]:
        """There is room for all of them. Raises ClusterError where there is none."""
        async with room(self.config, self.name, self.count, self.share) as self._group:
            yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All are up; at exit all end. Raises what an actor raised that could not be prepared."""
        loop = asyncio.get_running_loop()
        first = [loop.create_future() for _ in range(self.count)]
        keepers = [asyncio.create_task(self._keep(slot, first[slot])) for slot in range(self.count)]
        try:
            await asyncio.gather(*first)
            yield
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await asyncio.gather(*(self._end(actor) for actor in self._there.values()))

    async def _keep(self, slot: int, first: asyncio.Future[None]) -> None:
        losses = 0
        while True:
            actor = place(self.role, self.share, self._group, slot)
            came_up = False
            try:
                await answer(actor.__ray_ready__.remote())
                self._there[slot] = actor
                await self.up(slot, actor)
                came_up = True
                if not first.done():
                    first.set_result(None)
                await answer(actor.live.remote())
            except Exception as error:
                self._there.pop(slot, None)
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


@asynccontextmanager
async def room(config: Ray, name: str, count: int, share: Share) -> AsyncIterator[Any]:
    """A placement group for so many actors; what runs in it ends with it. Raises ClusterError where the cluster
    has no room in time."""
    bundle = {"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {})
    owner = ray.get_runtime_context().get_actor_id()
    group = placement_group([bundle] * count, strategy=config.strategy, name=f"{owner} {name}" if owner else "")
    try:
        async with asyncio.timeout(config.patience):
            await group.ready()
    except TimeoutError as error:
        has = ray.cluster_resources()
        raise ClusterError(
            f"in {config.patience:g} s (cluster.patience) no room was found for {count} x {name}, each with "
            f"{share.cpus:g} CPUs and {share.gpus:g} GPUs. All actors take {config.cpus:g} CPUs, and the cluster "
            f"has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"
        ) from error
    else:
        yield group
    finally:
        remove_placement_group(group)


def clear_rooms(actor: Any) -> None:
    """Remove the placement groups that an actor has made: Ray keeps those of a dead one until the job ends."""
    owner = actor._actor_id.hex()
    for row in placement_group_table().values():
        if row["name"].startswith(owner) and row["state"] != "REMOVED":
            remove_placement_group(get_placement_group(row["name"]))
