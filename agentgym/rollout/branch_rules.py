"""When a trajectory branches, in ARPO (arXiv 2507.19849) as published and as released."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from agentgym.engine import Sample
from agentgym.errors import EngineError
from agentgym.rollout.walk import Walk
from agentgym.types import Tokens

if TYPE_CHECKING:
    from agentgym.rollout.entropy_branching import EntropyBranching


def scaled_entropy(tokens: Tokens, walk: Walk, count: int) -> float:
    """The sum of the first `count` tokens' entropies over ln V, as if shorter turns went on alike.

    Raises EngineError where the engine reports no entropies.
    """
    entropy = tokens.entropy
    if entropy is None:
        raise EngineError("entropy branching needs an engine that reports the entropy of what it samples")
    first = entropy[:count]
    return count * math.fsum(first) / max(len(first), 1) / math.log(walk.engine.vocab_size)


class Rule(Protocol):
    """What decides for one group."""

    def before(self, walk: Walk, sample: Sample, coin: random.Random) -> int:
        """How many copies branch off where the policy stood when it said `sample`, which is not yet applied."""
        ...

    def after(self, walk: Walk, sample: Sample, coin: random.Random) -> int:
        """How many branch off at the answer to `sample`."""
        ...

    def forked(self, walk: Walk, twin: Walk) -> None:
        """`twin` has branched off `walk`."""
        ...


class Paper:
    """The first k tokens that follow a tool's answer decide whether other continuations branch off at that answer.

    dH = sum of their entropies less that of the first k after the prompt, over ln V. A branch has its root's
    prompt, and so its initial entropy.
    """

    def __init__(self, config: EntropyBranching) -> None:
        self.config = config
        self._initial: WeakKeyDictionary[Walk, float] = WeakKeyDictionary()
        self._in_a_row: WeakKeyDictionary[Walk, int] = WeakKeyDictionary()

    def before(self, walk: Walk, sample: Sample, coin: random.Random) -> int:
        config = self.config
        entropy = scaled_entropy(sample.tokens, walk, config.entropy_tokens)
        if walk.at_start:
            self._initial[walk] = entropy
        if not walk.turns:  # at the prompt, or just branched off here
            return 0
        in_a_row = self._in_a_row.get(walk, 0)
        chance = config.probability(entropy - self._initial[walk]) * max(0.0, 1 - config.fork_penalty * in_a_row)
        branches = coin.random() < chance
        self._in_a_row[walk] = in_a_row + 1 if branches else 0
        return config.beam_size - 1 if branches else 0

    def after(self, walk: Walk, sample: Sample, coin: random.Random) -> int:
        return 0

    def forked(self, walk: Walk, twin: Walk) -> None:
        self._initial[twin] = self._initial[walk]
        self._in_a_row[twin] = self._in_a_row[walk]


class Released:
    """The published code's form, which departs from the paper:

    1. A fork at a tool's answer is decided by the entropy of the turn that called it, not of the tokens after.
    2. So at the first call dH = 0, and the fork a plain coin.
    3. The initial entropy is kept by the trajectory's number and never forgotten: that of an earlier step counts.
    4. A branch takes its own first turn for initial.
    5. Entropies are summed, so short turns look certain. (The code also knows the ten likeliest tokens only; here
       the whole vocabulary counts.)
    6. Each of the Z - 1 copies has a coin of its own.

    Its barrier after every turn and its late trajectories one by one change nothing in what is sampled, and are
    left out, as are its duplicates.

    seen: initial entropies by the group's and the trajectory's number.
    """

    def __init__(self, config: EntropyBranching, seen: dict[tuple[str, int], float]) -> None:
        self.config, self._seen = config, seen
        self._copies: WeakKeyDictionary[Walk, int] = WeakKeyDictionary()
        self._count = config.initial_rollouts if isinstance(config.initial_rollouts, int) else 0

    def before(self, walk: Walk, sample: Sample, coin: random.Random) -> int:
        return 0

    def after(self, walk: Walk, sample: Sample, coin: random.Random) -> int:
        config = self.config
        said = min(len(sample.tokens), config.entropy_tokens)
        entropy = scaled_entropy(sample.tokens, walk, config.entropy_tokens) * said / config.entropy_tokens
        rise = entropy - self._seen.setdefault(self._number(walk), entropy)
        return sum(coin.random() < config.probability(rise) for _ in range(config.beam_size - 1))

    def forked(self, walk: Walk, twin: Walk) -> None:
        self._copies[twin] = self._count
        self._count += 1

    def _number(self, walk: Walk) -> tuple[str, int]:
        """Places in the step's batch: that of the group, and that of the trajectory."""
        root = int(walk.name.rpartition("/")[2]) if walk.origin is None else 0
        return walk.group.id.rpartition("-")[2], self._copies.get(walk, root)
