"""A group is an explicit id: order, duplicate prompts and who finished first change nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from agentgym.config import build
from agentgym.env import Env, StepResult
from agentgym.models import nano
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.trainers.base import Credit, Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.ppo_clip import PpoClip
from agentgym.trainers.reduce import token_weights
from agentgym.types import Group, Outcome, Task, Tokens, Turn

SAME = Task("same", "What is 1 + 1?", "2")
GRPO = [{"name": "weighted_sum", "weights": {"return": 1.0}}, {"name": "group_relative"}]
RLOO = [{"name": "weighted_sum", "weights": {"return": 1.0}}, {"name": "leave_one_out"}]


def groups_of_one_prompt() -> list[Group]:
    """Three groups of the same task, whose rewards differ more between groups than within one."""
    rng = random.Random(0)
    groups = []
    for number in range(3):
        group = Group(f"g{number}", SAME)
        for i in range(4):
            ids = tuple(rng.randrange(3, 200) for _ in range(rng.randrange(2, 9)))
            action = Tokens(ids, tuple(-6 - rng.random() for _ in ids))
            group.turns.append(Turn(None, Tokens((5, 6, 7)), action, outcome=Outcome.DONE))
            group.turns[-1].signals["return"] = 10.0 * number + i
        groups.append(group)
    return groups


def learn(batch: list[Scored], credit: Sequence[Any]) -> tuple[dict[tuple[str, int], float], dict[str, Tensor]]:
    """Advantages by trajectory, and the gradient of one update in float64."""

    class Gradient(Learner):
        def _step(self, lr: float) -> float:
            self.gradient = {name: p.grad for name, p in self.parameters.items()}
            return 0.0

    steps: list[Credit] = [build("credit", spec) for spec in credit]
    for step in steps:
        batch = step(batch)
    learner = Gradient(nano.model(0).double())
    weights = token_weights([s.length for s in batch], [s.weight for s in batch], "sequence_mean")
    learner.update(batch, weights, [PpoClip()], lr=1e-3, microbatch_tokens=40)
    return {(s.group.id, s.leaf): s.advantage for s in batch}, learner.gradient


def assert_alike(found: Any, wanted: Any) -> None:
    assert found[0] == pytest.approx(wanted[0], abs=1e-12)
    assert len(set(found[0].values())) > 1
    for name, gradient in wanted[1].items():
        assert float((found[1][name] - gradient).norm()) <= 1e-6 * float(gradient.norm()), name


@pytest.mark.parametrize("credit", [GRPO, RLOO], ids=["grpo", "rloo"])
def test_the_order_of_trajectories_changes_nothing(credit: Sequence[Any]) -> None:
    batch = [Scored(group, leaf) for group in groups_of_one_prompt() for leaf in group.leaves()]
    wanted = learn(batch, credit)
    for seed in range(2):
        shuffled = [Scored(s.group, s.leaf) for s in batch]
        random.Random(seed).shuffle(shuffled)
        assert_alike(learn(shuffled, credit), wanted)


@pytest.mark.parametrize("credit", [GRPO, RLOO], ids=["grpo", "rloo"])
def test_groups_with_the_same_prompt_are_not_compared_with_each_other(credit: Sequence[Any]) -> None:
    groups = groups_of_one_prompt()
    together, _ = learn([Scored(g, leaf) for g in groups for leaf in g.leaves()], credit)
    for group in groups:
        alone, _ = learn([Scored(group, leaf) for leaf in group.leaves()], credit)
        assert {key: together[key] for key in alone} == pytest.approx(alone, abs=1e-12)


@dataclass(frozen=True)
class Doors:
    """Config of an environment whose only step ends when its door is opened; by order of arrival."""

    doors: list[asyncio.Future[None]] = field(default_factory=list)
    closed: list[asyncio.Event] = field(default_factory=list)

    def make(self, services: Services) -> Env:
        return Waiting(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class Waiting(Env):
    config: Doors
    place: asyncio.Event | None = None

    async def start(self, task: Task, rng: random.Random) -> str:
        return str(task.prompt)

    async def act(self, action: str) -> StepResult:
        door = asyncio.get_running_loop().create_future()
        self.place = asyncio.Event()
        self.config.doors.append(door)
        self.config.closed.append(self.place)
        await door
        return StepResult("", float(len(action) % 5), True, False, {})

    async def close(self) -> None:
        await super().close()
        if self.place is not None:
            self.place.set()


async def play_in_order(policy: Any, order: Sequence[int]) -> list[Group]:
    """Two groups of the same prompt whose episodes finish one after another, in this order."""
    config = Doors()
    async with Services() as services:
        guard = Guard(episode_timeout=60, max_error_frac=0.0)
        manager = Manager(config, policy.engine, policy.chat, services, Limits(12, temperature=1.5), guard)
        running = asyncio.ensure_future(manager.run(Independent(), [("a", SAME), ("b", SAME)], 0, 3))
        while len(config.doors) < len(order):
            await asyncio.sleep(0)
            assert not running.done(), running.result()
        for index in order:
            config.doors[index].set_result(None)
            await config.closed[index].wait()
        return await running


async def test_who_finishes_first_changes_nothing(policy: Any) -> None:
    results = []
    for order in ((0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (4, 0, 3, 5, 1, 2)):
        groups = await play_in_order(policy, order)
        for group in groups:
            await build("signal", "env_return")(group, Services())
        batch = [Scored(group, leaf) for group in groups for leaf in group.leaves()]
        said = [[turn.action.ids for turn in scored.turns] for scored in batch]
        results.append((said, *learn(batch, GRPO)))
    assert [s for s, _, _ in results[1:]] == [results[0][0]] * 2
    for result in results[1:]:
        assert_alike(result[1:], results[0][1:])
    assert torch.tensor([len(set(map(str, s))) for s, _, _ in results]).min() > 1
