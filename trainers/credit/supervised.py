"""Leaves out the trajectories that a search does not want to be learned from."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.trainers.base import Scored


@dataclass(frozen=True)
class Supervised:
    """Gives weight 0 to trajectories whose last turn has info["supervised"] false, as `tree_search` marks those
    that ended beside a right or a more confident one; put it before steps that average over trajectories."""

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            if not scored.turns[-1].info.get("supervised", True):
                scored.weight = 0.0
        return batch
