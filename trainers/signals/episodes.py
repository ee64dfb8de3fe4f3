"""What signals read: the episodes that say something about the policy, and what the environment reported."""

from __future__ import annotations

from collections.abc import Iterator

from agentgym.boxed import last_boxed
from agentgym.errors import AgentgymError, did_you_mean
from agentgym.types import Group, Outcome, Turn


def valid_episodes(group: Group) -> Iterator[list[Turn]]:
    """Root-to-leaf turns of each trajectory that the machinery did not fail; the others get no signal."""
    for leaf, turns in zip(group.leaves(), group.trajectories(), strict=True):
        if group.outcome(leaf).is_valid:
            yield turns


def reported(group: Group, turns: list[Turn], key: str) -> float:
    """info[key], as the trajectory last reported it.

    0 if a limit cut the episode off before its first report; an episode that ended by itself must have one, or
    AgentgymError says what there is.
    """
    for turn in reversed(turns):
        if key in turn.info:
            return float(turn.info[key])
    if turns[-1].outcome is Outcome.DONE:
        raise AgentgymError(
            f"task {group.task.id!r}: the environment ended the episode without info[{key!r}], which the "
            f"signal {key!r} reads: {did_you_mean(key, turns[-1].info)}"
        )
    return 0.0


def answer_of(turn: Turn) -> str | None:
    r"""The answer that an episode ended with: what the environment reports as info["answer"], else the last turn's
    last \boxed{}; None where there is none."""
    answer = turn.info["answer"] if "answer" in turn.info else last_boxed(turn.text)
    return None if answer is None else str(answer)
