"""How good a policy is on a set of tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Manager
from agentgym.trainers.metrics.design_effect import effective_trials
from agentgym.trainers.metrics.pass_at_k import pass_at_k
from agentgym.trainers.metrics.wilson import wilson
from agentgym.types import Group, Task


@dataclass(frozen=True, slots=True)
class Evaluation:
    """tasks: different ones. success: share of valid episodes that reached the goal (pass@1), with its 95 % Wilson
    `interval`, in which the samples of a task count as far as they differ.

    pass_at: k -> share of tasks solved by at least one of k samples. Failed episodes are in `errors` only.
    tool_calls, tokens (sampled), reward: means per episode. peak_context: most tokens that a context had.
    """

    tasks: int
    episodes: int
    success: float
    interval: tuple[float, float]
    pass_at: dict[int, float]
    reward: float
    tool_calls: float
    tokens: float
    peak_context: int
    errors: int


async def evaluate(
    manager: Manager, tasks: Sequence[Task], seed: int, samples: int = 1, prefix: str = "eval"
) -> tuple[Evaluation, list[Group]]:
    """Play every task `samples` times."""
    named = [(f"{prefix}-{i}", task) for i, task in enumerate(tasks)]
    groups = await manager.run(Independent(), named, seed, samples)
    return summarise(groups), groups


def summarise(groups: Sequence[Group]) -> Evaluation:
    """The evaluation of played groups, of which those of one task are samples of it; raises ValueError when no
    episode is valid."""
    valid: Counter[str] = Counter()
    right: Counter[str] = Counter()
    rewards: list[float] = []
    calls: list[float] = []
    tokens: list[int] = []
    errors = 0
    for group in groups:
        for turns in group.trajectories():
            last = turns[-1]
            if last.outcome is None or not last.outcome.is_valid:
                errors += last.outcome is None or last.outcome.is_failure
                continue
            valid[group.task.id] += 1
            right[group.task.id] += succeeded(turns[-1].info)
            rewards.append(sum(turn.reward for turn in turns))
            calls.append(float(last.info.get("tool_calls", 0)))
            tokens.append(sum(len(turn.action) for turn in turns))
    total, counts = valid.total(), [(n, right[task]) for task, n in valid.items()]
    if not total:
        raise ValueError("no valid episode to evaluate")
    independent, success = effective_trials(counts), right.total() / total
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= min(n for n, _ in counts)]
    return Evaluation(
        tasks=len({group.task.id for group in groups}),
        episodes=total,
        success=success,
        interval=wilson(success * independent, independent),
        pass_at={k: fmean(pass_at_k(n, c, k) for n, c in counts) for k in ks},
        reward=fmean(rewards),
        tool_calls=fmean(calls),
        tokens=fmean(tokens),
        peak_context=max(size for group in groups for size in group.context_sizes()),
        errors=errors,
    )


def succeeded(info: dict[str, object]) -> bool:
    """Whether the environment said that the goal was reached."""
    return bool(info.get("success", False))
