"""Tasks drawn uniformly, and every group that has something to teach."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym.trainers.base import Scored, has_spread
from agentgym.trainers.rng_state import rng_state, set_rng_state
from agentgym.types import Task

if TYPE_CHECKING:
    from agentgym.env import TaskSource
    from agentgym.services import Services


@dataclass(frozen=True)
class Uniform:
    """Tasks as their source draws them.

    drop_zero_spread: keep groups whose trajectories all have the same reward out of the loss; their
    group-relative advantages are 0 (DAPO, arXiv 2503.14476, drops them too).
    """

    drop_zero_spread: bool = True

    def start(self, source: TaskSource, seed: int) -> UniformSampler:
        """A live sampler over `source`; the same seed proposes the same tasks."""
        return UniformSampler(self, source, seed)


class UniformSampler:
    """A `Sampler`; its state is that of its random numbers."""

    def __init__(self, config: Uniform, source: TaskSource, seed: int) -> None:
        self.config, self.source = config, source
        self._rng = random.Random(seed)

    def propose(self, n: int) -> list[Task]:
        """`n` training tasks."""
        return self.source.draw(n, self._rng, "train")

    def admit(self, group: list[Scored]) -> float:
        """1, or 0 for a group without spread when those are dropped."""
        return float(has_spread(group) or not self.config.drop_zero_spread)

    async def observe(self, batch: list[Scored], services: Services) -> None:
        """Uniform sampling learns nothing from results."""

    def state_dict(self) -> dict[str, Any]:
        """Where the random numbers are, as values JSON can hold."""
        return {"rng": rng_state(self._rng)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the sampler that `state` came from."""
        set_rng_state(self._rng, state["rng"])
