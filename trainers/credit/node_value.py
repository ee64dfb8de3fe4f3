"""DeepSearch's advantages: what a tree search thinks of each node, against how the group's trajectories ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentgym.errors import ConfigError
from agentgym.ranges import above
from agentgym.trainers.base import Scored, by_group


@dataclass(frozen=True)
class NodeValue:
    """A turn's advantage is q_max * tanh(q / q_max) - the mean terminal value (DeepSearch, arXiv 2509.25454).

    q is the turn's info["value"], which a tree search wrote; raises ConfigError for a turn without one. From the
    paper: every token of a node has the node's value, softly clipped by tanh, less a mean over the terminal nodes,
    and no deviation divides it. Chosen here: q_max is also the scale within tanh; terminal values are taken
    as they are, unclipped; the mean is over the group's trajectories in the batch, by their weights.
    """

    q_max: float = 1.0

    def __post_init__(self) -> None:
        above(self, 0, "q_max")

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for group in by_group(batch):
            total = math.fsum(scored.weight for scored in group)
            ends = math.fsum(scored.weight * _value(scored, scored.leaf) for scored in group)
            mean = ends / total if total else 0.0
            for scored in group:
                values = [_value(scored, turn) for turn in scored.group.path(scored.leaf)]
                scored.turn_advantages = [self.q_max * math.tanh(q / self.q_max) - mean for q in values]
        return batch


def _value(scored: Scored, turn: int) -> float:
    info = scored.group.turns[turn].info
    if "value" not in info:
        raise ConfigError(
            f"turn {turn} of task {scored.group.task.id!r} has no info['value'], which the credit step node_value "
            "reads: use a rollout that searches and writes the value of each node"
        )
    return float(info["value"])
