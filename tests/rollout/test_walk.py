"""One episode, step by step: what it records, when it ends, and how it branches."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentgym.config import build
from agentgym.engine import Sample
from agentgym.env import Env, StepResult
from agentgym.models.chat import Chat
from agentgym.rollout.demonstrations import Demonstrations
from agentgym.rollout.manager import Manager
from agentgym.rollout.walk import Limits, Walk
from agentgym.services import Services
from agentgym.types import Group, Observation, Outcome, Task, Tokens

Begin = Callable[..., Any]


@pytest.fixture
async def begin(engine: Any, chat: Chat, moody: Any) -> AsyncIterator[Begin]:
    """`await begin(limits, seed)`: a started walk in an environment of four turns."""
    opened: list[Walk] = []
    async with Services() as services:

        async def start(limits: Limits | None = None, seed: int = 0, turns: int = 4) -> Walk:
            env = moody(turns=turns).make(services)
            walk = Walk(Group("g", Task("t", "Hello", "")), env, engine, chat, limits or Limits(400), seed, "w")
            opened.append(walk)
            await walk.start()
            return walk

        yield start
        for walk in opened:
            await walk.close()


async def step(walk: Walk) -> None:
    await walk.apply(await walk.sample())


async def play(walk: Walk) -> Group:
    while walk.outcome is None:
        await step(walk)
    walk.commit()
    return walk.group


async def test_turns_add_up_to_what_the_engine_was_fed(begin: Begin, engine: Any) -> None:
    walk = await begin()
    group = await play(walk)
    assert [turn.parent for turn in group.turns] == [None, 0, 1, 2]
    assert [turn.outcome for turn in group.turns] == [None, None, None, Outcome.DONE]
    assert group.returns() == [4.0]
    flat = [i for turn in group.turns for part in (turn.context, turn.action) for i in part.ids]
    assert flat == walk.ids
    scored = await engine.score(flat)
    at = 0
    for turn in group.turns:
        at += len(turn.context)
        span = slice(at, at := at + len(turn.action))
        assert turn.action.logprobs == pytest.approx(scored.logprobs[span], abs=1e-4)
        assert turn.action.entropy == pytest.approx(scored.entropy[span], abs=1e-4)
        assert turn.context.logprobs is None


async def test_max_tokens_counts_what_the_policy_sampled_over_all_turns(begin: Begin) -> None:
    free = await play(await begin(turns=30))
    lengths = [len(turn.action) for turn in free.turns]
    limit = sum(lengths[:3]) + 1
    for extra, outcome in ((0, Outcome.MAX_TOKENS), (10**4, Outcome.DONE)):
        walk = await begin(Limits(limit + extra), turns=30)
        walk.env.unfinished_reward = lambda: -7.0
        group = await play(walk)
        assert group.outcome(group.leaves()[0]) == outcome
        assert sum(len(turn.action) for turn in group.turns) == (limit if not extra else sum(lengths))
        assert [turn.action.ids for turn in group.turns][:3] == [turn.action.ids for turn in free.turns][:3]
        assert group.returns() == [len(group.turns) - (7.0 if not extra else 0.0)]


async def test_a_fork_shares_its_past_and_nothing_else(begin: Begin, engine: Any) -> None:
    walk = await begin()
    await step(walk)
    await step(walk)
    twin = await walk.fork(seed=5, name="twin")
    assert twin.ids == walk.ids
    assert twin.ids is not walk.ids
    await step(walk)
    await step(twin)
    assert walk.turns[2].context == twin.turns[0].context
    assert walk.turns[2].action.ids != twin.turns[0].action.ids, "a seed of its own"
    await play(twin)
    group = await play(walk)
    await twin.close()
    assert [group.path(leaf) for leaf in group.leaves()] == [[0, 1, 2, 3], [0, 1, 4, 5]]
    assert group.returns() == [4.0, 4.0]
    for path in group.trajectories():
        flat = [i for turn in path for part in (turn.context, turn.action) for i in part.ids]
        scored = await engine.score(flat)
        end = len(flat)
        last = path[-1].action
        assert last.logprobs == pytest.approx(scored.logprobs[end - len(last) :], abs=1e-4)


async def test_a_seed_fixes_an_episode(begin: Begin) -> None:
    said = [[turn.action.ids for turn in (await play(await begin(seed=seed))).turns] for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


async def test_demonstrations_are_played_in_the_real_environment(engine: Any, chat: Chat) -> None:
    env = build("env", {"name": "retool", "prompt": "plain", "demo_error_rate": 0.0, "tasks": "arith"})
    tasks = [task for task in env.source().draw(8, random.Random(0)) if task.info["level"] == "hard"][:2]
    async with Services() as services:
        manager = Manager(env, engine, chat, services)
        groups = await manager.run(Demonstrations(), [(t.id, t) for t in tasks], 0, 2)
    for group in groups:
        assert group.returns() == [1.0, 1.0]
        for path in group.trajectories():
            said = "".join(turn.text for turn in path)
            assert f"print({group.task.info['expression'].replace(' ', '')})" in said
            assert path[-1].text == rf"\boxed{{{group.task.answer}}}"
            assert group.task.answer in path[-1].observation
            for turn in path:
                assert turn.source == "demo"
                assert turn.action.logprobs is None
                ended = turn.action.ids[-1] == chat.tokenizer.eos_token_id
                assert ended == (not turn.text.endswith("</code>"))


async def test_turns_stand_in_the_same_order_whoever_is_committed_first(begin: Begin) -> None:
    shapes = []
    for order in (0, 1):
        walk = await begin(turns=3)
        await step(walk)
        twin = await walk.fork(seed=5, name="twin")
        third = await twin.fork(seed=6, name="third")
        for each in (walk, twin, third):
            while each.outcome is None:
                await step(each)
        for each in ((walk, twin, third), (third, walk, twin))[order]:
            each.commit()
            each.commit()
        await twin.close()
        await third.close()
        paths = {tuple(i for turn in path for i in turn.action.ids) for path in walk.group.trajectories()}
        assert len(walk.group.turns) == 1 + 3 * 2
        shapes.append(paths)
    assert shapes[0] == shapes[1]


async def test_a_walk_that_fails_after_a_fork_is_a_trajectory_of_its_own(begin: Begin) -> None:
    """What it shares with the fork stays as it was."""
    walk = await begin(turns=2)
    await step(walk)
    twin = await walk.fork(seed=5, name="twin")
    walk.fail(Outcome.ENV_ERROR, "the database is on fire")
    await step(twin)
    for each in (walk, twin):
        each.commit()
    await twin.close()
    group = walk.group
    assert [turn.parent for turn in group.turns] == [None, 0, 0]
    assert [turn.outcome for turn in group.turns] == [None, Outcome.ENV_ERROR, Outcome.DONE]
    assert group.turns[1].action.ids == ()


class Asks(Env):
    """Has its policy stop at a full stop, and then asks on."""

    stop = (".",)

    async def start(self, task: Task, rng: random.Random) -> Observation:
        return [{"role": "user", "content": task.prompt}]  # type: ignore[typeddict-item]

    async def act(self, action: str) -> StepResult:
        return StepResult([{"role": "user", "content": "And?"}], 0.0, False, False, {})


@pytest.mark.parametrize("finish", ["stop", "eos"])
async def test_messages_come_after_the_end_of_the_turn(engine: Any, chat: Chat, moody: Any, finish: Any) -> None:
    """Which is written for the policy where a stop text kept it from doing so."""
    async with Services() as services:
        env = Asks(moody(turns=1), services)
        walk = Walk(Group("g", Task("t", "Hello", "")), env, engine, chat, Limits(400), 0, "w")
        await walk.start()
        ids = chat.speak("So.", end=finish == "eos")
        tokens = Tokens(ids, (0.0,) * len(ids), (0.0,) * len(ids), (0,) * len(ids))
        await walk.apply(Sample(tokens, "So.", finish))
        assert chat.decode(walk.ids).endswith(
            "So.<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
        )
        assert walk.turns[0].action.ids == ids
        await walk.close()
