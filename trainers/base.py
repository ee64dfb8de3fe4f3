"""The trainer's contracts: what a component sees, and what it gives back.

Suffixes used in trainers/: _G one entry per trajectory of a group, _N one per trained token.

Signals are slow and may call models; they write raw named numbers. Credit is pure arithmetic on them.
Losses are per token and unreduced. The trainer knows no algorithm: a method is a choice of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from agentgym.types import Group, Task, Turn

if TYPE_CHECKING:
    from torch import Tensor

    from agentgym.services import Services

Reduction = Literal["token_mean", "sequence_mean", "constant"]
Packing = Literal["tree", "flat"]


@dataclass(slots=True)
class Scored:
    """One trajectory on its way to the learner.

    leaf: index of its last turn in `group.turns`. reward: shaped, not yet compared with others.
    advantage: what every token it sampled is multiplied by; turn_advantages, one per turn from root to leaf, take
    its place. weight: what it counts beside others, in the loss and in what credit steps average; 0: not at all.
    """

    group: Group
    leaf: int
    reward: float = 0.0
    advantage: float = 0.0
    weight: float = 1.0
    turn_advantages: list[float] | None = None

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

    @property
    def signals(self) -> dict[str, float]:
        """The raw signals of the episode, by name."""
        return self.group.turns[self.leaf].signals

    @property
    def length(self) -> int:
        """Tokens the policy sampled."""
        return sum(len(turn.action) for turn in self.turns)


class Signal(Protocol):
    """Writes `turn.signals[name]` on the leaves of a group. services: of the run, for models that it asks."""

    async def __call__(self, group: Group, services: Services) -> None: ...


class Credit(Protocol):
    """One pure step from signals to advantages, over every trajectory of the batch; edits and returns it."""

    def __call__(self, batch: list[Scored]) -> list[Scored]: ...


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
        """Numbers for the metrics of the step that was just scored."""
        ...


@dataclass(slots=True)
class TokenBatch:
    """What a loss sees: one entry per trained token, in the order of the pack.

    logprobs, entropy: under the current weights, differentiable. old_logprobs: under the weights that sampled.
    ref_logprobs: under the frozen reference; None unless a loss needs it. advantages: per token.
    """

    logprobs: Tensor
    entropy: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    ref_logprobs: Tensor | None = None


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
