"""The strategy contract: how the trajectories of one task come to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.rollout.manager import Manager


class RolloutStrategy(Protocol):
    """A frozen dataclass in `agentgym/rollout/`, built from a walk's verbs: sample, apply, fork."""

    async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
        """Fill `group` with about `group_size` trajectories of its task."""
        ...
