"""Looking up a signal by name, for the steps that shape rewards."""

from __future__ import annotations

from agentgym.errors import ConfigError, did_you_mean
from agentgym.trainers.base import Scored


def read_signal(scored: Scored, name: str) -> float:
    """The value of a trajectory's signal; raises ConfigError naming it and those that were computed."""
    if name not in scored.signals:
        raise ConfigError(
            f"no signal {name!r} was computed for task {scored.group.task.id!r}: "
            f"{did_you_mean(name, scored.signals)}. Add it to the stage's `signals`"
        )
    return scored.signals[name]
