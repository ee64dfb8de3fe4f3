"""A stage's components, built: which groups it plays, and what it makes of them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from agentgym.config import build
from agentgym.env import TaskSource
from agentgym.parallel import ALONE, Peers, interleave
from agentgym.rollout.failures import check_share
from agentgym.rollout.manager import Manager
from agentgym.trainers.base import (
    Credit,
    LossTerm,
    Measured,
    NeedsProximal,
    Sampler,
    Scored,
    Signal,
    TrainsCritic,
    by_group,
)
from agentgym.trainers.settings import Settings, Stage
from agentgym.types import Group, Outcome

log = logging.getLogger("agentgym")


class Plays:
    """pool: the groups that a stage with a pool learns from, once `fill` has played them. appraise: has the critic
    write what it thinks of trajectories; called where a loss trains it. recompute: has the learner write their
    logprobs; called where a credit step compares them. peers: each computes the signals of its share of groups."""

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        manager: Manager,
        source: TaskSource,
        appraise: Callable[[list[Scored]], Awaitable[None]] | None = None,
        recompute: Callable[[list[Scored]], Awaitable[None]] | None = None,
        peers: Peers = ALONE,
    ) -> None:
        self.stage, self.manager, self.source, self.peers = stage, manager, source, peers
        self.strategy = build("rollout", stage.rollout)
        self.signals: list[Signal] = [build("signal", s) for s in stage.signals]
        self.credit: list[Credit] = [build("credit", c) for c in stage.credit]
        self.losses: list[LossTerm] = [build("loss", x) for x in stage.losses]
        self.appraise = appraise if any(isinstance(loss, TrainsCritic) for loss in self.losses) else None
        self.recompute = recompute if any(isinstance(credit, NeedsProximal) for credit in self.credit) else None
        self.partners = frozenset(settings.partners)
        self.seed, self.max_error_frac = settings.seed, settings.max_error_frac
        self.sampler = self._new_sampler()
        self.batch_size = stage.batch_size or settings.batch_size
        self.group_size = stage.group_size or settings.group_size
        self.pool: list[Group] = []

    async def fill(self) -> list[Group]:
        """Play the pool. From the stage's first seeds, so that a resumed run plays the same pool again."""
        self.sampler = self._new_sampler()
        log.info("stage %s: plays the %d groups that it learns from", self.stage.name, self.stage.pool)
        self.pool = await self._play(self.stage.pool, self.stage.name, hash((self.seed, -1)))
        return self.pool

    async def groups(self, step: int, step_in_stage: int) -> list[Group]:
        """The step's groups: chosen from the pool, or played now."""
        if not self.stage.pool:
            return await self._play(self.batch_size, f"s{step + 1}", hash((self.seed, step)))
        rng = random.Random(hash((self.seed, step_in_stage)))
        return rng.sample(self.pool, min(self.batch_size, len(self.pool)))

    async def score(self, groups: list[Group]) -> list[Scored]:
        """Signals, then credit, over every valid trajectory; groups the sampler drops get weight 0."""
        played = [
            Scored(group, leaf, frozen=frozen)
            for group in groups
            for frozen in [self._frozen(group)]
            for leaf in group.leaves()
            if group.outcome(leaf).is_valid
        ]
        for signal in self.signals:
            mine = self.peers.share(groups)
            await asyncio.gather(*(signal(group, self.manager.services) for group in mine))
        await self._tell_signals(groups)
        self._check_judged(played)
        batch = [scored for scored in played if scored.group.outcome(scored.leaf).is_valid]
        if self.appraise:
            await self.appraise(batch)
        if self.recompute:
            await self.recompute(batch)
        for credit in self.credit:
            batch = credit(batch)
        for group in by_group(batch):
            weight = self.sampler.admit(group)
            for scored in group:
                scored.weight *= weight
        await self._observe(batch)
        return batch

    async def metrics(self) -> dict[str, float]:
        """What signals, of all processes together, and the sampler tell of themselves."""
        told: Counter[str] = Counter()
        for signal in self.signals:
            if isinstance(signal, Measured):
                numbers = await signal.metrics(self.manager.services)
                for each in await self.peers.gather("metrics", numbers):
                    told.update(each)
        own = await self.sampler.metrics(self.manager.services) if isinstance(self.sampler, Measured) else {}
        return {**told, **own}

    async def _tell_signals(self, groups: list[Group]) -> None:
        """Exchange what the signals wrote on each process's share."""
        if not self.signals or self.peers.size == 1:
            return
        mine = self.peers.share(groups)
        written = [[(turn.signals, turn.outcome, turn.info) for turn in group.turns] for group in mine]
        for group, rows in zip(groups, interleave(await self.peers.gather("signals", written)), strict=True):
            for turn, row in zip(group.turns, rows, strict=True):
                turn.signals, turn.outcome, turn.info = row

    async def _observe(self, batch: list[Scored]) -> None:
        """The first process's sampler learns, for it may ask a model; the others go on as it does."""
        if self.peers.first:
            await self.sampler.observe(batch, self.manager.services)
        if self.peers.size > 1:
            self.sampler.load_state_dict(await self.peers.agree("sampler", self.sampler.state_dict()))

    def _frozen(self, group: Group) -> frozenset[str]:
        """The agents whose turns are not learned from."""
        agents = frozenset(turn.agent for turn in group.turns)
        learning = agents.intersection(self.stage.agents) if self.stage.agents else agents
        return agents - learning | self.partners

    def _check_judged(self, played: list[Scored]) -> None:
        """Raises TooManyErrors when signals have failed too many of the episodes that were played well."""
        last = [scored.group.turns[scored.leaf] for scored in played]
        outcomes = Counter(scored.group.outcome(scored.leaf) for scored in played)
        first = next((str(turn.info["error"]) for turn in last if turn.outcome is Outcome.JUDGE_ERROR), "")
        check_share(outcomes, self.max_error_frac, first)

    async def _play(self, n: int, prefix: str, seed: int) -> list[Group]:
        tasks = [(f"{prefix}-{i}", task) for i, task in enumerate(self.sampler.propose(n))]
        return await self.manager.run(self.strategy, tasks, seed, self.group_size)

    def _new_sampler(self) -> Sampler:
        # Each stage draws its own: tasks of an earlier one may be known by heart.
        seed = random.Random(f"{self.seed} {self.stage.name}").getrandbits(31)
        sampler: Sampler = build("sampler", self.stage.sampler).start(self.source, seed)
        return sampler
