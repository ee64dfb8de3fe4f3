"""What a step's rollouts looked like."""

from __future__ import annotations

from statistics import fmean, pstdev
from typing import Any

from agentgym.trainers.base import Scored, by_group, has_spread
from agentgym.trainers.branching import branching, spent
from agentgym.trainers.evaluate import succeeded
from agentgym.types import Group, Outcome


def describe(groups: list[Group], batch: list[Scored]) -> dict[str, Any]:
    """Means over the valid episodes, and what branching did; error_share and episodes count all but those that
    were given up. peak_context: most tokens that a context had, of any turn. signal/NAME: the mean of a signal,
    over those that have it."""
    outcomes = [g.outcome(leaf) for g in groups for leaf in g.leaves()]
    episodes = sum(outcome is not Outcome.CANCELLED for outcome in outcomes)
    failed = sum(outcome.is_failure for outcome in outcomes)
    described: dict[str, Any] = {"error_share": failed / max(episodes, 1), "episodes": episodes}
    described["peak_context"] = max((size for g in groups for size in g.context_sizes()), default=0)
    described |= spent(groups)
    if not batch:
        return described
    rewards = [s.reward for s in batch]
    last = [s.turns[-1] for s in batch]
    grouped = by_group(batch)
    malformed = fmean(float(t.info.get("malformed_calls", 0)) for t in last)
    return (
        described
        | {
            "reward": fmean(rewards),
            "reward_std": pstdev(rewards),
            "success": fmean(succeeded(t.info) for t in last),
            "tool_calls": fmean(float(t.info.get("tool_calls", 0)) for t in last),
            "num_turns": fmean(len(s.turns) for s in batch),
            "completion_length": fmean(s.length for s in batch),
            "frac_reward_zero_std": fmean(not has_spread(g) for g in grouped),
        }
        | ({"malformed_calls": malformed} if malformed else {})
        | _signals(batch)
        | branching(groups)
    )


def _signals(batch: list[Scored]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for scored in batch:
        for name, value in scored.signals.items():
            values.setdefault(f"signal/{name}", []).append(value)
    return {name: fmean(seen) for name, seen in values.items()}
