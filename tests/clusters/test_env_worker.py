"""What an env worker keeps from group to group."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from agentgym.types import Task

pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")


@dataclass(frozen=True)
class Counts:
    """A strategy that remembers whose groups it has played."""

    step: int = 1

    @cached_property
    def seen(self) -> list[str]:
        return []


class Plays:
    """A manager that has the strategy remember."""

    async def play_groups(self, strategy: Any, tasks: list[tuple[str, Task]], seeds: Any, size: int) -> list[str]:
        strategy.seen.extend(name for name, _ in tasks)
        return list(strategy.seen)


async def test_a_strategy_remembers_its_earlier_groups_and_those_of_no_other() -> None:
    """Each group brings its strategy along, as a copy."""
    from agentgym.clusters.env_worker import EnvWorker, Job

    worker = EnvWorker.__new__(EnvWorker)  # as it is when it has opened what episodes need
    vars(worker).update(_managers={1.0: Plays()}, _strategies={})

    async def play(name: str, strategy: Any) -> Any:
        job = Job(name, Task(name, "", ""), 0, strategy, 1, 1.0)
        return await worker.play(pickle.loads(pickle.dumps(job)))

    assert await play("a", Counts()) == ["a"]
    assert await play("b", Counts()) == ["a", "b"]
    assert await play("c", Counts(2)) == ["c"]
    assert await play("d", Counts()) == ["a", "b", "d"]
