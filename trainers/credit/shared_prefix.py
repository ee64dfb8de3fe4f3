"""ARPO's hard attribution: one advantage for a turn that several trajectories share."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from agentgym.trainers.base import Scored


@dataclass(frozen=True)
class SharedPrefix:
    """Gives a turn the mean advantage of the trajectories that share it (ARPO, arXiv 2507.19849, "hard").

    Comes after the step that sets advantages; without it attribution is "soft": a shared turn has the advantage
    of each of its trajectories in turn. Either way its tokens are entered once for each, so hard and soft give the
    same gradient as long as no clip is at work on a shared token and every token of the batch weighs alike but
    for the trajectories' weights (reductions token_mean and constant). The mean is over the trajectories that are
    trained: the machinery's failures are not in the batch, and each counts by its weight, so that those of weight
    0 have no say.
    """

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        sums: dict[tuple[str, int], float] = defaultdict(float)
        weights: dict[tuple[str, int], float] = defaultdict(float)
        for scored in batch:
            for turn, advantage in scored.by_turn:
                sums[scored.group.id, turn] += scored.weight * advantage
                weights[scored.group.id, turn] += scored.weight
        for scored in batch:
            if scored.weight:
                shared = [(scored.group.id, turn) for turn, _ in scored.by_turn]
                scored.turn_advantages = [sums[key] / weights[key] for key in shared]
        return batch
