"""Trees that forked often do not count more than trees that did not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from agentgym.trainers.base import Scored, by_group


@dataclass(frozen=True)
class TreeWeight:
    """Multiplies the weight of a trajectory by 1/d, where d of the group's trajectories have its root turn.

    Siblings share what they did before the fork, so their rewards are correlated, and a group's plain mean leans
    towards the trees with many leaves. The factors are scaled to a mean of 1 in each group. Comes before the
    steps that compare trajectories; `group_relative` and the loss use the weights.
    """

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for group in by_group(batch):
            roots = [scored.group.path(scored.leaf)[0] for scored in group]
            leaves = Counter(roots)
            for scored, root in zip(group, roots, strict=True):
                scored.weight *= len(group) / (len(leaves) * leaves[root])
        return batch
