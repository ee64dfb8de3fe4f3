"""An engine replica: an actor that samples, with its own copy of the weights."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym import opening, run
from agentgym.clusters import weights
from agentgym.clusters.actor import Actor
from agentgym.engine import Sample, Sampling
from agentgym.errors import EngineDead
from agentgym.types import Tokens

if TYPE_CHECKING:
    from agentgym.trainers.settings import Settings

POLICY = ""
"""The policy among the speakers; the others are partners, by agent."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an engine without asking it anew."""

    max_len: int
    vocab_size: int


class Replica(Actor):
    """The engine of the settings, and its partners'."""

    async def start(self, settings: Settings) -> dict[str, Facts]:
        """Load the models; facts by speaker."""
        run.check_components(settings)  # loads modules that objects from elsewhere may be of
        models = await opening.models_here(opening.aside(settings), self._opened)
        self.model, self.engines = models.model, {POLICY: models.engine, **models.partners}
        self._calls: dict[tuple[str, str], asyncio.Future[Sample]] = {}
        return {name: Facts(engine.max_len, engine.vocab_size) for name, engine in self.engines.items()}

    async def sample(
        self, speaker: str, ids: Sequence[int], sampling: Sampling, session: str | None, parent: str | None
    ) -> Sample:
        """See `Engine`. Of a session's calls only the last has somebody who waits for it."""
        engine = self.engines[speaker]
        if session is None:
            with self._ends_with_it():
                sample: Sample = await engine.sample(ids, sampling)
            return sample
        key = (speaker, session)
        if before := self._calls.get(key):
            before.cancel()
            await asyncio.wait([before])
        call = self._calls[key] = asyncio.ensure_future(
            engine.sample(ids, sampling, session=session, parent=parent)
        )
        try:
            with self._ends_with_it():
                said: Sample = await call
            return said
        finally:
            if self._calls.get(key) is call:
                del self._calls[key]

    async def score(self, speaker: str, ids: Sequence[int]) -> Tokens:
        """See `Engine`."""
        with self._ends_with_it():
            scored: Tokens = await self.engines[speaker].score(ids)
        return scored

    def release(self, speaker: str, session: str) -> None:
        """See `Engine`."""
        self.engines[speaker].release(session)

    async def load(self, trained: dict[str, weights.Weight], version: int) -> None:
        """The policy's, as the learner has them now."""
        weights.take(self.model, trained)
        with self._ends_with_it():
            await self.engines[POLICY].load(self.model, version)

    @contextmanager
    def _ends_with_it(self) -> Iterator[None]:
        """A dead engine ends the actor as well: that is noticed, and both are made anew."""
        try:
            yield
        except EngineDead:
            traceback.print_exc()
            os._exit(1)
