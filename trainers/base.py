"""The trainer's contracts: what a component sees, and what it gives back.

Suffixes used in trainers/: _G one entry per trajectory of a group, _N one per trained token.

Signals are slow and may call models; they write raw named numbers. Credit is pure arithmetic on them.
Losses are per token and unreduced. The trainer knows no algorithm: a method is a choice of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from agentgym.types import Group, Task, Turn

if TYPE_CHECKING:
    from torch import Tensor

    from agentgym.services import Services

Reduction = Literal["token_mean", "sequence_mean", "constant"]
Packing = Literal["tree", "flat"]


class Learned(NamedTuple):
    """What there is to learn from a token. old_logprob: when it was sampled (0 for demonstrations), or when the
    update began. value, goal: what the critic thought of where it stands, and what it should think."""

    old_logprob: float
    advantage: float
    value: float
    goal: float


@dataclass(slots=True)
class Scored:
    """One trajectory on its way to the learner.

    leaf: index of its last turn in `group.turns`. reward: shaped, not yet compared with others.
    advantage: what every token it sampled is multiplied by; turn_advantages, one per turn from root to leaf, or
    else token_advantages, one per learned token, take its place. weight: what it counts beside others, in the loss
    and in what credit steps average; 0: not at all. frozen: agents whose turns nobody learns from, and which are
    context. values, goals: of the learned tokens, before each what the critic thinks and what it should. proximal:
    their logprobs under the weights that the update begins with, where a credit step asks for them; they then take
    the place of those they were sampled with.
    """

    group: Group
    leaf: int
    reward: float = 0.0
    advantage: float = 0.0
    weight: float = 1.0
    turn_advantages: list[float] | None = None
    token_advantages: list[float] | None = None
    frozen: frozenset[str] = frozenset()
    values: list[float] | None = None
    goals: list[float] | None = None
    proximal: list[float] | None = None

    @property
    def turns(self) -> list[Turn]:
        """Its turns, root to leaf."""
        return [self.group.turns[i] for i in self.group.path(self.leaf)]

    @property
    def by_turn(self) -> list[tuple[int, float]]:
        """Index in `group.turns` and advantage of each of its turns, root to leaf."""
        path = self.group.path(self.leaf)
        advantages = [self.advantage] * len(path) if self.turn_advantages is None else self.turn_advantages
        if len(advantages) != len(path):
            raise ValueError(f"{len(path)} turns but {len(advantages)} turn_advantages; one per turn is needed")
        return list(zip(path, advantages, strict=True))

    def by_token(self) -> list[tuple[int, list[Learned]]]:
        """Index in `group.turns` of each of its turns, root to leaf, and what is learned from its tokens: nothing
        from a frozen agent's."""
        found: list[tuple[int, list[Learned]]] = []
        done = 0
        for index, advantage in self.by_turn:
            turn = self.group.turns[index]
            count = 0 if turn.agent in self.frozen else len(turn.action)
            here = slice(done, done + count)
            rows = zip(
                (turn.action.logprobs or (0.0,) * count)[:count] if self.proximal is None else self.proximal[here],
                [advantage] * count if self.token_advantages is None else self.token_advantages[here],
                [0.0] * count if self.values is None else self.values[here],
                [0.0] * count if self.goals is None else self.goals[here],
                strict=True,
            )
            found.append((index, [Learned(*row) for row in rows]))
            done += count
        return found

    def drift(self) -> list[float]:
        """Of each learned token that was sampled, how much likelier the weights that learn find it than those that
        sampled it, in nats; of others, 0. Empty without `proximal`."""
        sampled = [
            value
            for turn in self.turns
            if turn.agent not in self.frozen
            for value in (turn.action.logprobs or (math.nan,) * len(turn.action))
        ]
        pairs = zip(self.proximal or (), sampled, strict=self.proximal is not None)
        return [0.0 if math.isnan(old) else new - old for new, old in pairs]

    @property
    def signals(self) -> dict[str, float]:
        """The raw signals of the episode, by name."""
        return self.group.turns[self.leaf].signals

    @property
    def length(self) -> int:
        """Tokens the policy sampled, where it learns."""
        return sum(len(turn.action) for turn in self.turns if turn.agent not in self.frozen)


class Signal(Protocol):
    """Writes `turn.signals[name]` on the leaves of a group. services: of the run, for models that it asks."""

    async def __call__(self, group: Group, services: Services) -> None: ...


class Credit(Protocol):
    """One pure step from signals to advantages, over every trajectory of the batch; edits and returns it."""

    def __call__(self, batch: list[Scored]) -> list[Scored]: ...


@runtime_checkable
class NeedsProximal(Protocol):
    """A credit step that compares the weights which sampled with those which learn: the trajectories have
    `proximal`."""

    needs_proximal: ClassVar[bool]


class Sampler(Protocol):
    """Which tasks to play, and which groups to learn from."""

    def propose(self, n: int) -> list[Task]: ...

    def admit(self, group: list[Scored]) -> float:
        """The group's weight in the loss; 0 drops it."""
        ...

    async def observe(self, batch: list[Scored], services: Services) -> None:
        """Learn from what came of the proposed tasks. services: of the run, for models that it asks."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Measured(Protocol):
    """A signal or a sampler that has something to tell of itself."""

    async def metrics(self, services: Services) -> dict[str, float]:
        """Numbers for the metrics of the step that was just scored; a signal's add up over processes."""
        ...


@dataclass(slots=True)
class TokenBatch:
    """What a loss sees: one entry per trained token, in the order of the pack.

    logprobs, entropy: under the current weights, differentiable. old_logprobs: under the weights that sampled.
    ref_logprobs: under the frozen reference; None unless a loss needs it. advantages: per token. values,
    old_values, goals: what the critic thinks of where the token stands, differentiable, what it thought before
    the update, and what it should think; values is None without a critic.
    """

    logprobs: Tensor
    entropy: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    ref_logprobs: Tensor | None = None
    values: Tensor | None = None
    old_values: Tensor | None = None
    goals: Tensor | None = None


@runtime_checkable
class TrainsCritic(Protocol):
    """A loss that trains the critic: with one, the learner has a critic, and credit steps find its values."""

    trains_critic: ClassVar[bool]


class LossTerm(Protocol):
    """A per-token loss, unreduced, times its coefficient."""

    @property
    def coef(self) -> float: ...

    @property
    def needs_reference(self) -> bool: ...

    def __call__(self, tokens: TokenBatch) -> Tensor:
        """[N] losses, without the coefficient."""
        ...

    def metrics(self, tokens: TokenBatch) -> dict[str, Tensor]:
        """[N] quantities worth logging as means over tokens, detached."""
        ...


def by_group(batch: Iterable[Scored]) -> list[list[Scored]]:
    """The batch split by group id, in order of first appearance."""
    groups: dict[str, list[Scored]] = {}
    for scored in batch:
        groups.setdefault(scored.group.id, []).append(scored)
    return list(groups.values())


def has_spread(group: Iterable[Scored]) -> bool:
    """Whether its trajectories have different rewards."""
    return len({scored.reward for scored in group}) > 1
