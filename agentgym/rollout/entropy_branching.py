"""ARPO (arXiv 2507.19849): trajectories branch where a tool's answer has made the policy uncertain."""

from __future__ import annotations

import itertools
import logging
import math
import random
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from agentgym.errors import SandboxError
from agentgym.ranges import at_least, within
from agentgym.rollout.branch_rules import Paper, Released, Rule, scaled_entropy
from agentgym.rollout.walk import Walk
from agentgym.types import Group

if TYPE_CHECKING:
    import asyncio

    from agentgym.rollout.manager import Manager

log = logging.getLogger("agentgym")
Place = tuple[int, ...]
"""Where a trajectory begins: the number of its root, then for each fork on the way the turn and which copy."""


@dataclass(frozen=True)
class EntropyBranching:
    """M = group_size trajectories: some start at the prompt, the others branch off, in worlds that fork.

    After each answer of a tool a trajectory branches with probability
    clip(branch_probability + entropy_weight * dH, 0, 1), or with none where that is below `threshold`. dH: how
    much more uncertain the first entropy_tokens tokens that follow are than those after the prompt; see
    `branch_rules.py`.
    Forks stop at M - N; what is short of M when all have ended starts at the prompt, all at once. No trajectory
    ever waits for another.

    initial_rollouts: N, how many start at the prompt. beam_size: Z, the paths that go on from a branching point,
    the trajectory's own among them. compat: `released` branches as the published code does.
    AEPO's balanced form (arXiv 2510.14545): initial_rollouts `balanced` plays one trajectory first, and N is `M *
    sigmoid(balance * (H of its first turn - mean H of its later ones))`, with H as in dH; fork_penalty: after l
    branchings in a row on the way the probability is multiplied by 1 - fork_penalty * l.
    """

    initial_rollouts: int | Literal["balanced"] = 8
    beam_size: int = 2
    branch_probability: float = 0.5
    entropy_weight: float = 0.2
    threshold: float = 0.0
    entropy_tokens: int = 20
    balance: float = 1.0
    fork_penalty: float = 0.0
    compat: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        if self.initial_rollouts != "balanced":
            at_least(self, 1, "initial_rollouts")
        at_least(self, 2, "beam_size")
        at_least(self, 1, "entropy_tokens")
        within(self, 0, 1, "branch_probability", "threshold", "fork_penalty")

    def probability(self, rise: float) -> float:
        """Of branching, where the entropy has risen by `rise`."""
        chance = min(max(self.branch_probability + self.entropy_weight * rise, 0.0), 1.0)
        return chance if chance >= self.threshold else 0.0

    def rule(self) -> Rule:
        """A group's, from the beginning."""
        return Released(self, self._seen) if self.compat == "released" else Paper(self)

    @cached_property
    def _seen(self) -> dict[tuple[str, int], float]:
        """Kept from step to step, as the published code does."""
        return {}

    async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
        await Forest(self, manager, group, seed, group_size).grow()


class Forest:
    """One group while it grows. forks_left: how many more may begin by branching off."""

    def __init__(
        self, config: EntropyBranching, manager: Manager, group: Group, seed: int, group_size: int
    ) -> None:
        self.config, self.manager, self.group, self.seed, self.size = config, manager, group, seed, group_size
        self.rule = config.rule()
        self.forks_left = 0
        self._refused = False
        self._walks: dict[Place, Walk] = {}
        self._running: asyncio.TaskGroup

    async def grow(self) -> None:
        """Play all M trajectories, and put them into the group in an order that does not depend on timing."""
        started, wanted = 0, self.config.initial_rollouts
        if wanted == "balanced":
            await self._plant(range(1))  # with no forks left
            started, wanted = 1, self._balanced(self._walks[0,])
        initial = min(wanted, self.size)
        self.forks_left = self.size - initial
        await self._plant(range(started, initial))
        short, self.forks_left = self.size - len(self._walks), 0
        await self._plant(range(initial, initial + short))
        for place in sorted(self._walks):
            self._walks[place].commit()

    def _balanced(self, scout: Walk) -> int:
        """AEPO's N, of a trajectory that has ended: few start at the prompt where answers leave more doubt."""
        spoken = [turn.action for turn in scout.turns if turn.action.ids]  # a failure says nothing
        entropy = [scaled_entropy(action, scout, self.config.entropy_tokens) for action in spoken]
        gap = entropy[0] - fmean(entropy[1:]) if len(entropy) > 1 else 0.0
        return max(1, round(self.size / (1 + math.exp(-self.config.balance * gap))))

    async def _plant(self, roots: range) -> None:
        """Play trajectories from the prompt, and all that branches off them."""
        import asyncio

        async with asyncio.TaskGroup() as self._running:
            for number in roots:
                self._running.create_task(self._root(number))

    async def _root(self, number: int) -> None:
        name, place = f"{self.group.id}/{number}", (number,)
        seed = hash((self.seed, number))
        self._walks[place] = await self.manager.play(self.group, seed, name, lambda w: self._move(w, place))

    def _branch(self, walk: Walk, place: Place) -> None:
        self._walks[place] = walk
        self._running.create_task(self.manager.play_on(walk, lambda w: self._move(w, place)))

    async def _move(self, walk: Walk, place: Place) -> None:
        """One turn, and what branches off before or after it."""
        sample = await self.manager.sample(walk)
        coin = random.Random(hash((walk.seed, walk.depth)))
        refused = await self._fork(walk, place, self.rule.before(walk, sample, coin))
        await walk.apply(sample)
        if walk.outcome is None:
            refused = await self._fork(walk, place, self.rule.after(walk, sample, coin)) or refused
        if refused:
            walk.turns[-1].info["fork_refused"] = refused

    async def _fork(self, walk: Walk, place: Place, copies: int) -> str:
        """Branch `copies` times, as far as the budget goes; why a fork was refused, or empty.

        A state that cannot be copied exactly, such as a program's running thread, is not branched from.
        """
        copies = min(copies, self.forks_left)
        self.forks_left -= copies
        refused = ""
        taken = self._copies_at((*place, walk.depth))
        for copy in range(taken, taken + copies):
            seed, name = hash((walk.seed, walk.depth, copy)), f"{walk.name}+{walk.depth}.{copy}"
            try:
                twin = await self.manager.fork(walk, seed, name)
            except SandboxError as error:
                tell = log.debug if self._refused else log.warning  # once a group; the metrics count them
                tell("episode %s: no fork (%s)", walk.name, error)
                self._refused = True
                self.forks_left += 1
                refused = str(error)
                continue
            self.rule.forked(walk, twin)
            self._branch(twin, (*place, walk.depth, copy))
        return refused

    def _copies_at(self, place: Place) -> int:
        """How many an earlier try of this trajectory, which failed, has left here."""
        return next(copy for copy in itertools.count() if (*place, copy) not in self._walks)
