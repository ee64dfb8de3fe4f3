"""The engine that asks replicas: each episode stays with one, and goes to another when that one is lost."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from agentgym.clusters import weights
from agentgym.clusters.calls import Lost, answer
from agentgym.clusters.replica import POLICY, Facts
from agentgym.engine import Sample, Sampling
from agentgym.errors import EngineError
from agentgym.types import Tokens

DEADLY = 3
"""Replicas lost to one request after which it is the request that kills."""


class Routes:
    """The replicas that are up, by number, and who is where. patience: seconds to wait for one where none is."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.replicas: dict[int, Any] = {}
        self.asked: Counter[int] = Counter()
        self.homes: dict[str, int] = {}  # session -> number
        self._changed = asyncio.Event()

    def update(self, replicas: Mapping[int, Any]) -> None:
        """These are up now."""
        self.replicas = dict(replicas)
        self._changed.set()

    async def choose(self, session: str | None, parent: str | None) -> int:
        """Where the session's cache is, or its parent's, or who has least to do. Raises EngineError where none is
        up for too long."""
        try:
            async with asyncio.timeout(self.patience):
                while not self.replicas:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise EngineError(f"no engine replica was up for {self.patience:g} s (cluster.patience)") from error
        known = (self.homes.get(name or "") for name in (session, parent))
        number = next((each for each in known if each in self.replicas), None)
        if number is None:
            number = min(self.replicas, key=lambda each: (self.asked[each], random.random()))
        if session is not None:
            self.homes[session] = number
        return number

    def lose(self, number: int, replica: Any) -> None:
        """It did not answer: whoever else still hears of it shall not either, so that it is made anew."""
        ray.kill(replica)
        if self.replicas.get(number) is replica:
            del self.replicas[number]


class RoutedEngine:
    """See `Engine`. A request whose replica is lost is asked of another, with the same seed.

    speaker: whom to ask for. prefix: of its sessions' names there. `load` publishes to all replicas that are up,
    and `join` to one that comes later; the process that the learner is in calls them.
    """

    shares_weights = False

    def __init__(self, routes: Routes, facts: Facts, speaker: str = POLICY, prefix: str = "") -> None:
        self.routes, self.speaker, self.prefix = routes, speaker, prefix
        self.max_len, self.vocab_size = facts.max_len, facts.vocab_size
        self.version = self.reused = 0
        self._published: tuple[Any, int] | None = None
        self._publishing = asyncio.Lock()

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        """See `Engine`."""
        names = [None if name is None else self.prefix + name for name in (session, parent)]
        sample: Sample = await self._ask("sample", *names, list(ids), sampling, *names)
        return sample

    async def score(self, ids: Sequence[int]) -> Tokens:
        """See `Engine`."""
        scored: Tokens = await self._ask("score", None, None, list(ids))
        return scored

    async def _ask(self, method: str, session: str | None, parent: str | None, *arguments: Any) -> Any:
        for losses in itertools.count(1):
            number = await self.routes.choose(session, parent)
            replica = self.routes.replicas[number]
            self.routes.asked[number] += 1
            try:
                return await answer(getattr(replica, method).remote(self.speaker, *arguments))
            except Lost as error:
                self.routes.lose(number, replica)
                if losses == DEADLY:
                    raise EngineError(
                        f"{losses} engine replicas in a row were lost to one request: {error}"
                    ) from error
            finally:
                self.routes.asked[number] -= 1

    def release(self, session: str) -> None:
        """See `Engine`."""
        number = self.routes.homes.pop(self.prefix + session, None)
        if (replica := self.routes.replicas.get(-1 if number is None else number)) is not None:
            replica.release.remote(self.speaker, self.prefix + session)

    async def load(self, model: Any, version: int) -> None:
        """See `Engine`. The weights are put into this machine's object store once; each other machine fetches them
        once. `version` is known to be in use when all have them."""
        async with self._publishing:
            stored = await asyncio.to_thread(ray.put, weights.export(model))
            self._published = (stored, version)
            replicas = dict(self.routes.replicas)
            await asyncio.gather(*(self._send(number, replica) for number, replica in replicas.items()))
            self.version = version

    async def join(self, number: int, replica: Any) -> None:
        """Have a new replica sample, with the weights that the others have."""
        async with self._publishing:
            if self._published:
                await answer(replica.load.remote(*self._published))
            self.routes.update({**self.routes.replicas, number: replica})

    async def _send(self, number: int, replica: Any) -> None:
        assert self._published is not None
        try:
            await answer(replica.load.remote(*self._published))
        except Lost:
            self.routes.lose(number, replica)

    async def close(self) -> None:
        """See `Engine`; the replicas are closed by who made them."""
