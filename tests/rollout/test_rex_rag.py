"""REX-RAG's rollouts on a real engine: what a probe shares with the trajectory it follows, token by token."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import Env, StepResult
from agentgym.errors import ConfigError
from agentgym.rollout.manager import Manager
from agentgym.rollout.rex_rag import RexRag
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Group, Outcome, Task, Turn

DOUBTS = (" But why?", " Is that so? Let me see.")
Make = Callable[..., Manager]


@dataclass(frozen=True)
class Numbers:
    """Config of a world that answers with numbers of its own until a turn ends with an e, which is always wrong.

    restless: the numbers are others each time. fail_at: which opened world fails as it begins. slow: takes its
    time.
    """

    restless: bool = False
    fail_at: int = -1
    slow: bool = False
    opened: Counter[str] = field(default_factory=Counter)
    open: set[Env] = field(default_factory=set)

    def make(self, services: Services) -> Env:
        return NumbersEnv(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class NumbersEnv(Env):
    config: Numbers
    stop = tuple("aeinorst")  # so that a random policy's turns are short

    async def start(self, task: Task, rng: random.Random) -> str:
        self.config.open.add(self)
        self.config.opened[task.id] += 1
        self.fails = self.config.opened[task.id] == self.config.fail_at
        self.rng = random.Random() if self.config.restless else rng
        return "Count"

    async def act(self, action: str) -> StepResult:
        if self.fails:
            raise OSError("the abacus broke")
        if self.config.slow:
            for _ in range(random.SystemRandom().randrange(30)):
                await asyncio.sleep(0)
        over = action.endswith("e")
        return StepResult(f" {self.rng.randrange(10**6)} ", 0.0, over, False, {"success": False} if over else {})

    async def close(self) -> None:
        await super().close()
        self.config.open.discard(self)


async def play(manager: Make, world: Numbers, groups: int = 1, size: int = 12, **guard: Any) -> list[Group]:
    played = manager(world, Limits(120), **guard)
    tasks = [(f"s{i}-0", Task("t", "Count", "")) for i in range(groups)]
    found = await played.run(RexRag(1.0, before="e", doubts=DOUBTS), tasks, 3, size)
    assert not world.open
    return found


def split(group: Group) -> tuple[list[list[Turn]], list[list[Turn]]]:
    """The policy's own trajectories, and the probes."""
    paths = list(group.trajectories())
    probes = [path for path in paths if any(turn.source == "aided" for turn in path)]
    return [path for path in paths if path not in probes], probes


async def test_a_probe_is_the_trajectory_up_to_its_answer_and_then_doubts(manager: Make, chat: Any) -> None:
    [group] = await play(manager, Numbers())
    own, probes = split(group)
    wrong = [path for path in own if path[-1].outcome is Outcome.DONE]
    assert len(own) == 12
    assert len(wrong) == len(probes) > 3
    assert any(len(path) > 2 for path in wrong)
    doubts = {chat.speak(text, end=False) for text in DOUBTS}
    for before, after in zip(wrong, probes, strict=True):
        last = len(before) - 1
        for one, other in itertools.islice(zip(before, after, strict=False), last):
            assert (one.context, one.action) == (other.context, other.action)
        one, other = before[last], after[last]
        assert [turn.source for turn in after[: last + 1]] == ["on_policy"] * last + ["aided"]
        assert one.context == other.context
        kept = max(n for n in range(len(one.action)) if "e" not in chat.decode(one.action.ids[:n]))
        assert other.action.ids[:kept] == one.action.ids[:kept]
        assert other.action.logprobs[:kept] == one.action.logprobs[:kept]
        begun = [doubt for doubt in doubts if other.action.ids[kept:][: len(doubt)] == doubt]
        assert begun
        [inserted] = [mark for mark in other.info["doubts"] if mark["inserted"]]
        assert inserted["tokens"] in map(len, begun)
        assert inserted["rate"] == 0.5
        assert 0 < inserted["reach"] <= 1


async def test_what_is_trained_is_the_policys_own_log_probability(manager: Make, engine: Any) -> None:
    [group] = await play(manager, Numbers())
    for path in split(group)[1]:
        ids = [i for turn in path for part in (turn.context, turn.action) for i in part.ids]
        scored, at = await engine.score(ids), 0
        for turn in path:
            at += len(turn.context)
            end = at + len(turn.action)
            assert turn.action.logprobs == pytest.approx(scored.logprobs[at:end], abs=1e-4)
            assert turn.action.entropy == pytest.approx(scored.entropy[at:end], abs=1e-4)
            at = end
        assert sum(len(turn.action) for turn in path) <= 120


async def test_probes_do_not_repeat_each_others_words(manager: Make) -> None:
    [group] = await play(manager, Numbers())
    probes = split(group)[1]
    assert len({tuple(turn.action.ids for turn in path) for path in probes}) == len(probes)


async def test_a_world_that_cannot_be_played_again_is_an_error(manager: Make) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await play(manager, Numbers(restless=True))
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        [error] = error.exceptions[:1]
    assert isinstance(error, ConfigError)
    assert "NumbersEnv showed something else the second time, before turn 2 of task 't'" in str(error)


async def test_a_probe_that_the_machinery_fails_says_nothing(manager: Make) -> None:
    [group] = await play(manager, Numbers(fail_at=13), retries=0)
    outcomes = Counter(group.outcome(leaf) for leaf in group.leaves())
    assert outcomes[Outcome.ENV_ERROR] == 1
    assert len(split(group)[1]) > 3


async def test_a_failed_probe_is_tried_again(manager: Make) -> None:
    [plain] = await play(manager, Numbers())
    [group] = await play(manager, Numbers(fail_at=13), retries=1)
    said = [[(t.context.ids, t.action.ids) for t in g.turns] for g in (plain, group)]
    assert said[0] == said[1]


async def test_reproducible_to_the_bit_however_long_worlds_take(manager: Make) -> None:
    guard = {"deterministic": True, "episode_timeout": 60.0}
    first = await play(manager, Numbers(slow=True), groups=3, size=6, **guard)
    assert sum(len(split(group)[1]) for group in first) > 3
    assert await play(manager, Numbers(slow=True), groups=3, size=6, **guard) == first


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"probability": 1.5}, "from 0 to 1, not 1.5"),
        ({"before": ""}, "before is empty"),
        ({"doubts": []}, "one or more"),
        ({"doubts": ["b", "b"]}, "given twice"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("rollout", {"name": "rex_rag", **fields})
