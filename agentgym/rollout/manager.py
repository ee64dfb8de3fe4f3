"""Runs episodes: bounded concurrency, a deadline each, retries, and an outcome for every one of them."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from agentgym.busy import Busy
from agentgym.engine import Engine, Sample
from agentgym.env import EnvConfig, trait
from agentgym.errors import UserError
from agentgym.parallel import ALONE, Peers, interleave
from agentgym.pool import Pool
from agentgym.renderer import Renderer
from agentgym.rollout.failures import check_share, classify
from agentgym.rollout.lockstep import Lockstep
from agentgym.rollout.strategy import RolloutStrategy
from agentgym.rollout.walk import Limits, Walk
from agentgym.services import Services
from agentgym.types import Group, Outcome, Task, Tokens

Move = Callable[[Walk], Awaitable[None]]
"""One turn of an episode: someone speaks, the environment answers."""

T = TypeVar("T")

log = logging.getLogger("agentgym")

TOLD = 5
"""Failures of a kind that a batch tells of one by one; all are counted."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What keeps a run alive. episode_timeout: seconds, for what is played of an episode at a stretch;
    max_error_frac: share of failed episodes in a step at which the run stops; deterministic: see
    `rollout/lockstep.py`."""

    concurrency: int = 512
    episode_timeout: float = 1800.0
    retries: int = 1
    max_error_frac: float = 0.25
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """Groups in the order they were asked for, how their episodes ended, and the first error, empty for none."""

    groups: list[Group]
    outcomes: Counter[Outcome]
    error: str


def seeds(seed: int, count: int) -> list[int]:
    """Of the groups of a run."""
    return [hash((seed, index)) for index in range(count)]


class Manager:
    """The one place where episodes run, of as many runs at a time as are asked for.

    partners: engines that speak in the policy's place, by agent. peers: processes that run the same, and share the
    groups out among each other. parked: walks with a live environment that nobody plays, by name: forked, or
    stopped before their end. outcomes: of the run that ended last. sampling: how long the engine had something to
    do for it.
    """

    def __init__(
        self,
        env: EnvConfig,
        engine: Engine,
        renderer: Renderer,
        services: Services,
        limits: Limits | None = None,
        guard: Guard | None = None,
        partners: Mapping[str, Engine] | None = None,
        peers: Peers = ALONE,
    ) -> None:
        self.peers = peers
        self.env, self.engine, self.renderer, self.services = env, engine, renderer, services
        self.limits, self.guard = limits or Limits(), guard or Guard()
        self.partners = partners or {}
        self.outcomes: Counter[Outcome] = Counter()
        self.running: dict[str, tuple[float, Walk]] = {}
        self.parked: dict[str, Walk] = {}
        self.sampling = Busy()
        self._deadlines: dict[str, asyncio.Timeout] = {}
        self._holds = 0
        self._left: dict[asyncio.Timeout, float] = {}  # what deadlines that stand still have
        self._tallies: dict[str, Counter[Outcome]] = defaultdict(Counter)  # by group, as are the next
        self._errors: dict[str, str] = {}
        self._told: dict[str, Counter[Outcome]] = {}  # one for all groups of a run
        self._pool: Pool | None = None
        self._runs = 0  # under way; they share the pool
        self._gate = Lockstep() if self.guard.deterministic else None

    async def run(
        self, strategy: RolloutStrategy, tasks: Sequence[tuple[str, Task]], seed: int, group_size: int
    ) -> list[Group]:
        """One group for each `(group id, task)`, in their order; no two runs at a time share an id. Raises
        TooManyErrors."""
        numbered = self.peers.share(list(zip(tasks, seeds(seed, len(tasks)), strict=True)))
        mine, own = [task for task, _ in numbered], [number for _, number in numbered]
        played = await self.play_groups(strategy, mine, own, group_size)
        shares = await self.peers.gather(f"played {tasks[0][0] if tasks else 'nothing'}", played)
        self.outcomes = sum((part.outcomes for part in shares), Counter[Outcome]())
        errors = (part.error for part in shares if part.error)
        check_share(self.outcomes, self.guard.max_error_frac, next(errors, ""))
        return interleave([part.groups for part in shares])

    async def play_groups(
        self, strategy: RolloutStrategy, tasks: Sequence[tuple[str, Task]], seeds: Sequence[int], group_size: int
    ) -> Played:
        """A part of a run, or all of it: groups with a seed for each, however many fail."""
        groups = [Group(group_id, task) for group_id, task in tasks]
        ids = {group.id for group in groups}
        size = sys.maxsize if self._gate else self.guard.concurrency  # the gate waits for all that have begun
        told: Counter[Outcome] = Counter()
        self._told |= dict.fromkeys(ids, told)
        self._pool = self._pool or Pool(size)
        self._runs += 1
        try:
            async with asyncio.TaskGroup() as running:
                for group, seed in zip(groups, seeds, strict=True):
                    running.create_task(strategy.run(self, group, seed, group_size))
        finally:
            left = [walk for walk in self.parked.values() if walk.group.id in ids]
            await asyncio.gather(*(self.give_up(walk) for walk in left))
            self._runs -= 1
            if not self._runs:
                self._pool = None
            outcomes = sum((self._tallies.pop(i) for i in ids & {*self._tallies}), Counter[Outcome]())
            errors = [self._errors.pop(group.id) for group in groups if group.id in self._errors]
            for each in ids:
                del self._told[each]
        return Played(groups, outcomes, next(iter(errors), ""))

    async def play(
        self, group: Group, seed: int, name: str, move: Move | None = None, turns: float = math.inf
    ) -> Walk:
        """One whole episode, closed but not yet committed; parked instead if it goes on after `turns` turns.
        Failures of the machinery end up in its outcome."""
        self.join(name)
        return await self._admit(name, self._attempts(group, seed, name, move or self._policy_move, turns))

    async def fork(self, walk: Walk, seed: int, name: str) -> Walk:
        """A second walk from here, parked. Raises what the environment's fork raises."""
        async with asyncio.timeout(self.guard.episode_timeout):
            twin = self.parked[name] = await walk.fork(seed, name)
        self.join(name)
        return twin

    async def play_on(self, walk: Walk, move: Move | None = None, turns: float = math.inf) -> None:
        """A parked walk to its end, or parked again after `turns` turns; once: a world that failed cannot be
        made again."""

        async def end() -> None:
            try:
                await self._episode(walk, move or self._policy_move, turns)
            except UserError:
                raise
            except Exception as error:
                self._record(walk, error, last=True)
            self._count(walk)

        self.join(walk.name)
        await self._admit(walk.name, end())

    async def give_up(self, walk: Walk) -> None:
        """End a parked walk where it is: nobody learns from its last turn."""
        del self.parked[walk.name]
        walk.cancel()
        try:
            async with asyncio.timeout(self.guard.episode_timeout):
                await walk.close()
        except Exception as error:
            self._record(walk, error, last=True)
        self._count(walk)

    def join(self, name: str) -> None:
        """Where runs are reproducible to the bit, nobody samples until `name` waits to sample too, or leaves.

        Episodes in play have joined by themselves; a strategy that decides what to play next joins meanwhile.
        """
        if self._gate:
            self._gate.join(name)

    def leave(self, name: str) -> None:
        """Undo `join`."""
        if self._gate:
            self._gate.leave(name)

    async def sample(self, walk: Walk, said: tuple[int, ...] = ()) -> Sample:
        """Let the policy speak, or go on from what was `said` for it, when it is the walk's turn."""
        if self._gate:
            await self._wait_for_others(self._gate, walk.name)
        with self.sampling:
            return await walk.sample(said)

    async def score(self, name: str, ids: Sequence[int]) -> Tokens:
        """What the policy thinks of `ids`, when it is the turn of `name`: an episode's in play, or one that
        joined."""
        if self._gate:
            await self._wait_for_others(self._gate, name)
        with self.sampling:
            return await self.engine.score(ids)

    async def _admit(self, name: str, job: Coroutine[Any, Any, T]) -> T:
        """The result of `job`, which plays an episode, once there was room for it."""
        assert self._pool is not None, "episodes are played within run()"
        try:
            return await self._pool.run(job)
        finally:
            self.leave(name)

    async def _attempts(self, group: Group, seed: int, name: str, move: Move, turns: float) -> Walk:
        for attempt in range(self.guard.retries + 1):
            env = self.env.make(self.services)
            chunks = trait(self.env, "chunks")
            walk = Walk(group, env, self.engine, self.renderer, self.limits, seed, name, chunks, self.partners)
            try:
                await self._episode(walk, move, turns)
                break
            except UserError:
                raise
            except Exception as error:
                self._record(walk, error, last=attempt == self.guard.retries)
        self._count(walk)
        return walk

    async def _episode(self, walk: Walk, move: Move, turns: float) -> None:
        """From where the walk is to its end, or for `turns` turns. Closed in any case, unless it can go on."""
        name, until = walk.name, walk.depth + turns
        self.parked.pop(name, None)
        self.running[name] = (time.monotonic(), walk)
        goes_on = False
        try:
            async with self._deadline(name):
                if not walk.started:
                    await walk.start()
                while walk.outcome is None and walk.depth < until:
                    await move(walk)
            goes_on = walk.outcome is None
        finally:
            del self.running[name], self._deadlines[name]
            if goes_on:
                self.parked[name] = walk
            else:
                async with asyncio.timeout(self.guard.episode_timeout):
                    await walk.close()

    @asynccontextmanager
    async def _deadline(self, name: str) -> AsyncIterator[None]:
        """The episode's. Raises TimeoutError that says so."""
        deadline = self._deadlines[name] = asyncio.timeout(None if self._holds else self.guard.episode_timeout)
        try:
            async with deadline:
                yield
        except TimeoutError as error:
            if not deadline.expired():
                raise
            limit = f"{self.guard.episode_timeout:g} s (episode_timeout)"
            raise TimeoutError(f"not over after {limit}, its waits for the engine included") from error

    def _count(self, walk: Walk) -> None:
        if walk.outcome is not None:
            self._tallies[walk.group.id][walk.outcome] += 1

    async def _policy_move(self, walk: Walk) -> None:
        await walk.apply(await self.sample(walk))

    async def _wait_for_others(self, gate: Lockstep, name: str) -> None:
        """An episode's deadline stands still meanwhile: it is not this episode that takes long."""
        deadline, loop = self._deadlines.get(name), asyncio.get_running_loop()
        if deadline is None:
            return await gate.wait(name)
        left = (deadline.when() or 0.0) - loop.time()
        deadline.reschedule(None)
        await gate.wait(name)
        deadline.reschedule(loop.time() + left)

    def _record(self, walk: Walk, error: Exception, last: bool) -> None:
        outcome = classify(error)
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        told = self._told[walk.group.id]
        told[outcome] += 1
        if told[outcome] <= TOLD:
            log.warning("episode %s: %s (%s)%s", walk.name, outcome, reason, "" if last else "; trying again")
        if told[outcome] == TOLD:
            log.warning("more episodes that end in %s are counted, and not told of one by one", outcome)
        log.debug("episode %s", walk.name, exc_info=error)
        self._errors.setdefault(walk.group.id, f"{outcome} ({reason})")
        if last:
            walk.fail(outcome, reason)

    @contextmanager
    def deadlines_stopped(self) -> Iterator[None]:
        """The deadlines of episodes stand still, also of those that begin: it is not them that take long."""
        loop = asyncio.get_running_loop()
        if not self._holds:
            self._left = {each: when - loop.time() for each in self._running_deadlines() if (when := each.when())}
            for deadline in self._left:
                deadline.reschedule(None)
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                for deadline in self._running_deadlines():
                    left = self._left.get(deadline, self.guard.episode_timeout)
                    deadline.reschedule(loop.time() + left)

    def _running_deadlines(self) -> list[asyncio.Timeout]:
        return [each for each in self._deadlines.values() if not each.expired()]

    def oldest(self) -> tuple[str, float] | None:
        """Name and age in seconds of the episode that has run longest."""
        running = list(self.running.items())  # one step: a progress display asks from a thread of its own
        if not running:
            return None
        name, (started, _) = min(running, key=lambda item: item[1][0])
        return name, time.monotonic() - started
