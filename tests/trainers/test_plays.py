"""What a step learns from: valid episodes only, scored together with those of their own group."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from agentgym.env import Split
from agentgym.services import Services
from agentgym.trainers.base import Scored
from agentgym.trainers.plays import Plays
from agentgym.trainers.settings import Settings, Stage
from agentgym.types import Group, Outcome, Task

Episode = Callable[..., Scored]
FAILURES = [outcome for outcome in Outcome if not outcome.is_valid]


class Numbers:
    """Tasks named by consecutive random numbers."""

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return [Task(str(rng.random()), "p", "a") for _ in range(n or 0)]


class Played:
    """Stands where the manager does: gives back groups without episodes, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], int]] = []
        self.services = Services()

    async def run(self, strategy: Any, tasks: Any, seed: int, group_size: int) -> list[Group]:
        self.asked.append(([task.id for _, task in tasks], seed))
        return [Group(group_id, task) for group_id, task in tasks]


def plays(manager: Any = None, name: str = "rl", **stage: Any) -> Plays:
    credit: list[Any] = [{"name": "weighted_sum", "weights": {"return": 1.0}}, {"name": "group_relative"}]
    table = {"signals": ["env_return"], "credit": credit, "losses": ["ppo_clip"], **stage}
    return Plays(Stage(name, **table), Settings(batch_size=3), manager or Played(), Numbers())


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failed_episode_is_no_reward_of_zero(group: Group, episode: Episode, failure: Outcome) -> None:
    """The others are scored as if it had never been played."""
    for reward in (2.0, 3.0, 4.0):
        episode(group, actions=(2, 3), rewards=(0.5, reward - 0.5))
        episode(group, actions=(2, 3), rewards=(0.5, 0.0), outcome=failure)
    batch = await plays().score([group])
    assert [scored.turns[-1].outcome for scored in batch] == [Outcome.DONE] * 3
    assert [scored.reward for scored in batch] == [2.0, 3.0, 4.0]
    assert [scored.advantage for scored in batch] == pytest.approx([-1.0, 0.0, 1.0], abs=1e-5)
    assert all(turn.signals == {} for turn in group.turns if turn.outcome == failure)


async def test_groups_without_spread_are_dropped_when_the_sampler_says_so(episode: Episode) -> None:
    groups = [Group(str(i), Task("t", "p", "a")) for i in range(2)]
    for i, reward in ((0, 1.0), (0, 1.0), (1, 1.0), (1, 0.0)):
        episode(groups[i], rewards=(reward,))
    for drop, weights in ((True, [0.0, 0.0, 1.0, 1.0]), (False, [1.0] * 4)):
        played = plays(sampler={"name": "uniform", "drop_zero_spread": drop})
        assert [scored.weight for scored in await played.score(groups)] == weights


async def test_a_stage_draws_other_tasks_than_the_one_before() -> None:
    managers = [Played(), Played(), Played()]
    for manager, name in zip(managers, ("cold_start", "rl", "rl"), strict=True):
        await plays(manager, name).groups(0, 0)
    before, after, again = (set(manager.asked[0][0]) for manager in managers)
    assert not before & after
    assert after == again


async def test_every_step_draws_new_tasks_and_new_randomness() -> None:
    manager = Played()
    stage = plays(manager)
    ids = [group.id for step in range(2) for group in await stage.groups(step, step)]
    assert len(set(ids)) == 6
    (first, first_seed), (second, second_seed) = manager.asked
    assert not set(first) & set(second)
    assert first_seed != second_seed


async def test_a_pool_is_played_once_and_is_the_same_after_a_resume() -> None:
    manager = Played()
    stage = plays(manager, pool=8)
    pool = [group.task.id for group in await stage.fill()]
    chosen = [[g.task.id for g in await stage.groups(step, step)] for step in range(4)]
    assert len(manager.asked) == 1
    assert all(set(groups) <= set(pool) and len(set(groups)) == 3 for groups in chosen)
    assert len({tuple(groups) for groups in chosen}) > 1
    again = plays(manager, pool=8)
    again.sampler.load_state_dict(stage.sampler.state_dict())
    await again.fill()
    assert manager.asked[0] == manager.asked[1]
    assert [g.task.id for g in await again.groups(3, 3)] == chosen[3]
