"""Spreads trajectories over workers, and sends away what they cannot take."""

from __future__ import annotations

import asyncio
from binascii import crc32
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from agentgym.serving.problem import Problem
from agentgym.tools.serving.process import Worker
from agentgym.tools.serving.settings import ServeTools
from agentgym.tools.serving.wire import Action, Reply

GRACE = 5.0
"""Seconds beyond an action's timeout after which its worker, which must have answered, is taken for hung."""
REMEMBERED = 1 << 18
"""Trajectories that were never ended and are still known; those not heard of for longest are forgotten first."""


class Router:
    """Every trajectory has its worker, whatever batch its actions come in."""

    def __init__(self, workers: Sequence[Worker], settings: ServeTools) -> None:
        self.workers, self._settings = workers, settings
        self._known: dict[str, None] = {}

    def __len__(self) -> int:
        """Trajectories that have begun and not ended."""
        return len(self._known)

    async def act(self, actions: Sequence[Action]) -> list[Reply]:
        """The replies, in the order of the actions.

        Raises Problem when there is no room for all of them: then none was carried out.
        """
        workers = [self._worker(action.trajectory) for action in actions]
        self._admit(workers)
        replies = [worker.send(self._mark(action)) for worker, action in zip(workers, actions, strict=True)]
        _, late = await asyncio.wait(replies, timeout=self._settings.timeout + GRACE)
        for worker, reply in zip(workers, replies, strict=True):
            if reply in late:
                worker.kill()
        return list(await asyncio.gather(*replies))

    def _worker(self, trajectory: str) -> Worker:
        return self.workers[crc32(trajectory.encode(errors="surrogatepass")) % len(self.workers)]

    def _admit(self, workers: Sequence[Worker]) -> None:
        room = self._settings.max_actions + self._settings.max_waiting
        for worker, count in Counter(workers).items():
            if count > room:
                raise Problem("too_large", f"{count} actions for one worker, which has room for {room}: send less")
            if not worker.ready:
                raise Problem("unavailable", "the worker of a trajectory is being started again")
            if len(worker) + count > room:
                raise Problem("unavailable", f"{len(worker)} actions run or wait at a worker with room for {room}")

    def _mark(self, action: Action) -> Action:
        """Says whether the trajectory begins with this action, and keeps in mind that it did."""
        begins = action.trajectory not in self._known
        self._known.pop(action.trajectory, None)
        if not (action.finish or action.last):
            self._known[action.trajectory] = None
            if len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
        return replace(action, begins=begins)
