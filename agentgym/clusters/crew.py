"""The env workers that are up, and how much each has to do."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import ray

from agentgym.errors import ClusterError

log = logging.getLogger("agentgym")


@dataclass(slots=True, eq=False)
class Seat:
    """A worker with the groups it plays. alone: none is to be played beside the one it has."""

    worker: Any
    groups: int = 0
    alone: bool = False


class Crew:
    """Who asks first is served first, with the worker that has least to do; so whoever is quick plays more.

    patience: seconds to wait for a worker where none is up.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.seats: dict[int, Seat] = {}
        self._line = asyncio.Lock()
        self._changed = asyncio.Event()

    def join(self, number: int, worker: Any) -> None:
        """A worker is up."""
        self.seats[number] = Seat(worker)
        self._changed.set()

    def lose(self, worker: Any) -> None:
        """It does not answer: whoever still hears of it shall not either, so that it is made anew."""
        ray.kill(worker)
        for number, seat in list(self.seats.items()):
            if seat.worker is worker:
                del self.seats[number]
                log.info("env worker %d is gone; %d groups that it had are played again", number, seat.groups)

    async def take(self, room: int, alone: bool) -> Seat:
        """A worker that plays fewer than `room` groups, or none where the group is to be `alone`. Raises
        ClusterError where none is up for too long."""
        async with self._line:
            while (seat := self._free(room, alone)) is None:
                self._changed.clear()
                try:
                    async with asyncio.timeout(None if self.seats else self.patience):
                        await self._changed.wait()
                except TimeoutError as error:
                    raise ClusterError(
                        f"no env worker was up for {self.patience:g} s (cluster.patience)"
                    ) from error
            seat.groups += 1
            seat.alone = alone
            return seat

    def give_back(self, seat: Seat) -> None:
        """The group is played, or lost."""
        seat.groups -= 1
        seat.alone = False
        self._changed.set()

    def _free(self, room: int, alone: bool) -> Seat | None:
        fitting = [s for s in self.seats.values() if not s.alone and s.groups < (1 if alone else room)]
        return min(fitting, key=lambda seat: seat.groups, default=None)
