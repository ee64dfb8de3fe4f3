"""What branching saved, and where it happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from agentgym.types import Group, Outcome

BUSIEST = 3


def spent(groups: Sequence[Group]) -> dict[str, int]:
    """tokens_sampled, tool_calls_made: by all episodes together, each once however many trajectories share it."""
    tokens = sum(_tokens(group)[0] for group in groups)
    return {"tokens_sampled": tokens, "tool_calls_made": sum(_calls(group)[0] for group in groups)}


def branching(groups: Sequence[Group]) -> dict[str, Any]:
    """Only `forks`, 0, where nothing branched. Otherwise

    forks: per group. forks_per_turn: per group, after the first turn, after the second, ... forks_on_top3: share
    of a group's forks that are on its three busiest trajectories (93 % in ARPO, says AEPO, arXiv 2510.14545), over
    groups with forks. sampled_share: tokens sampled over tokens in trajectories. tool_calls_saved: share of the
    trajectories' tool calls that were made once for several. forks_refused: turns at which the state could not be
    copied. What was given up is spent, and no trajectory.
    """
    forked = [_forks(group) for group in groups]
    total = sum(map(len, forked))
    refused = sum("fork_refused" in turn.info for group in groups for turn in group.turns)
    told: dict[str, Any] = {"forks": total / len(groups)} | ({"forks_refused": refused} if refused else {})
    if not total:
        return told
    depths = Counter(depth for forks in forked for _, depth in forks)
    tops = [_busiest(forks) for forks in forked if forks]
    sampled, along = map(sum, zip(*map(_tokens, groups), strict=True))
    made, counted = map(sum, zip(*map(_calls, groups), strict=True))
    return told | {
        "forks_per_turn": [depths[depth] / len(groups) for depth in range(1, max(depths) + 1)],
        "forks_on_top3": fmean(tops),
        "sampled_share": sampled / max(along, 1),
        "tool_calls_saved": 1 - made / counted if counted else 0.0,
    }


def _forks(group: Group) -> list[tuple[int, int]]:
    """For each fork the trajectory it is on, and after how many turns. A turn's first child goes on with its
    trajectory, later ones begin one."""
    trajectory: list[int] = []
    depth: list[int] = []
    seen: set[int] = set()
    forks: list[tuple[int, int]] = []
    for index, turn in enumerate(group.turns):
        parent = turn.parent
        begins = parent is None or parent in seen
        if parent is not None:
            if begins:
                forks.append((trajectory[parent], depth[parent]))
            seen.add(parent)
        trajectory.append(index if parent is None or begins else trajectory[parent])
        depth.append(1 if parent is None else depth[parent] + 1)
    return forks


def _busiest(forks: Sequence[tuple[int, int]]) -> float:
    """The share of forks on the three trajectories that have most."""
    counts = Counter(trajectory for trajectory, _ in forks).most_common(BUSIEST)
    return sum(count for _, count in counts) / len(forks)


def _tokens(group: Group) -> tuple[int, int]:
    """Sampled, and counted along every trajectory."""
    along = sum(len(group.turns[i].action) for leaf in _ends(group) for i in group.path(leaf))
    return sum(len(turn.action) for turn in group.turns), along


def _calls(group: Group) -> tuple[int, int]:
    """Tool calls made, and counted along every trajectory, by what the environment says of each turn."""
    made = 0
    calls: list[int] = []  # up to each turn
    for turn in group.turns:
        before = 0 if turn.parent is None else calls[turn.parent]
        calls.append(int(turn.info.get("tool_calls", before)))
        made += calls[-1] - before
    return made, sum(calls[leaf] for leaf in _ends(group))


def _ends(group: Group) -> list[int]:
    """The leaves of trajectories that were played to an end."""
    return [leaf for leaf in group.leaves() if group.outcome(leaf) is not Outcome.CANCELLED]
