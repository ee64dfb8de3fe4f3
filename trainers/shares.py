"""Which trajectories of a batch a process learns from."""

from __future__ import annotations

from collections.abc import Sequence

from agentgym.trainers.base import Scored, by_group


def shares(batch: Sequence[Scored], weights: Sequence[float], size: int) -> list[list[tuple[Scored, float]]]:
    """The trajectories with their weights in `size` shares: whole groups, which share prefixes, with about as many
    tokens each. The same wherever it is computed. Trajectories of weight 0 are in none."""
    weight = {id(scored): w for scored, w in zip(batch, weights, strict=True)}
    groups = by_group(scored for scored in batch if weight[id(scored)] and scored.length)
    parts: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    tokens = [sum(len(turn.context) + len(turn.action) for turn in group[0].group.turns) for group in groups]
    for index in sorted(range(len(groups)), key=lambda i: (-tokens[i], i)):
        least = loads.index(min(loads))
        parts[least].append(index)
        loads[least] += tokens[index]
    return [[(scored, weight[id(scored)]) for i in sorted(part) for scored in groups[i]] for part in parts]
