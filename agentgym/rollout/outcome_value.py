"""What an episode's end is worth to a strategy that looks at outcomes."""

from __future__ import annotations

from agentgym.errors import AgentgymError, did_you_mean
from agentgym.rollout.walk import Walk
from agentgym.types import Outcome


def outcome_value(walk: Walk) -> float:
    """1 for a right end, -1 for any other, 0 while it goes on."""
    if walk.outcome is None:
        return 0.0
    info = walk.turns[-1].info
    if walk.outcome is Outcome.DONE and "success" not in info:
        raise AgentgymError(
            f"task {walk.group.task.id!r}: the environment ended the episode without info['success'], which "
            f"the rollout reads: {did_you_mean('success', info)}"
        )
    return 1.0 if info.get("success", False) else -1.0
