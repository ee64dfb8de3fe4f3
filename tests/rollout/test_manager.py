"""Episodes that fail: cut off, tried again, told apart, counted, and never mistaken for a reward of 0."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentgym.errors import ConfigError, EngineError, TooManyErrors
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Manager
from agentgym.types import Group, Outcome, Task

Make = Callable[..., Manager]


def tasks(*ids: str) -> list[tuple[str, Task]]:
    return [(id, Task(id, f"say {id}", "")) for id in ids]


async def play(manager: Manager, *ids: str, group_size: int = 1) -> dict[str, Group]:
    groups = await manager.run(Independent(), tasks(*ids), 0, group_size)
    return {group.id: group for group in groups}


def outcomes(group: Group) -> list[Outcome]:
    return [group.outcome(leaf) for leaf in group.leaves()]


FAILURES = {
    "hang": Outcome.TOOL_TIMEOUT,
    "raise": Outcome.ENV_ERROR,
    "prompt": Outcome.ENGINE_ERROR,
    "hang_on_close": Outcome.TOOL_TIMEOUT,
    "raise_on_close": Outcome.ENV_ERROR,
}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("mood", FAILURES)
async def test_a_failing_episode_is_cut_off_tried_again_and_told_apart(
    manager: Make, moody: Any, mood: str, deterministic: bool
) -> None:
    env = moody({"bad": mood})
    played = manager(env, retries=1, deterministic=deterministic)
    groups = await play(played, "good", "bad", "fine")
    assert env.attempts == {"good": 1, "bad": 2, "fine": 1}
    assert outcomes(groups["bad"]) == [FAILURES[mood]]
    assert groups["bad"].turns[-1].info["error"]
    assert outcomes(groups["good"]) == outcomes(groups["fine"]) == [Outcome.DONE]
    assert groups["good"].returns() == [2.0]
    assert played.outcomes == {Outcome.DONE: 2, FAILURES[mood]: 1}
    assert not played.running


async def test_an_episode_that_takes_too_long_is_told_which_limit_it_met(manager: Make, moody: Any) -> None:
    groups = await play(manager(moody({"slow": "hang"}), retries=0, episode_timeout=0.5), "slow")
    [turn] = groups["slow"].turns
    assert "not over after 0.5 s (episode_timeout)" in turn.info["error"]


@pytest.fixture
async def skip(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds go by at once."""
    loop, skipped = asyncio.get_running_loop(), [0.0]
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + sum(skipped))
    return skipped.append


async def until(happened: Callable[[], Any]) -> None:
    while not happened():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_deadlines_stand_still_while_nobody_is_sampled_for(
    manager: Make, moody: Any, skip: Callable[[float], None]
) -> None:
    env = moody({"slow": "hang", "later": "hang"})
    played = manager(env, retries=0, episode_timeout=60)

    async def hanging(count: int) -> bool:
        for _ in range(20):
            await asyncio.sleep(0)
        return len(played.running) == count

    first = asyncio.ensure_future(play(played, "slow"))
    await until(lambda: env.hanging)
    with played.deadlines_stopped():
        with played.deadlines_stopped():
            second = asyncio.ensure_future(play(played, "later"))
            await until(lambda: len(env.hanging) == 2)
            skip(1000)
        assert await hanging(2)
    assert await hanging(2), "they have what was left of their time, and all of it"
    skip(1000)
    assert outcomes((await first)["slow"]) == outcomes((await second)["later"]) == [Outcome.TOOL_TIMEOUT]


async def test_an_episode_that_is_being_cut_off_is_left_to_it(
    manager: Make, moody: Any, skip: Callable[[float], None]
) -> None:
    begun, cut, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class TakesItsTime(moody):  # type: ignore[misc]
        def make(self, services: Any) -> Any:
            env = super().make(services)

            async def act(action: str) -> Any:
                begun.set()
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    cut.set()
                    await ended.wait()

            env.act = act
            return env

    played = manager(TakesItsTime(), retries=0, episode_timeout=60)
    playing = asyncio.ensure_future(play(played, "slow"))
    await begun.wait()
    skip(1000)
    await cut.wait()
    with played.deadlines_stopped():
        ended.set()
    assert outcomes((await playing)["slow"]) == [Outcome.TOOL_TIMEOUT]


@pytest.mark.parametrize("mood", ["hang", "raise"])
async def test_a_second_try_that_works_leaves_no_trace(manager: Make, moody: Any, mood: str) -> None:
    env = moody({"bad": f"once {mood}"})
    played = manager(env, retries=1)
    groups = await play(played, "bad")
    assert env.attempts["bad"] == 2
    assert outcomes(groups["bad"]) == [Outcome.DONE]
    assert len(groups["bad"].turns) == 2
    assert played.outcomes == {Outcome.DONE: 1}


async def test_an_engine_that_stopped_is_an_engine_error(manager: Make, moody: Any, engine: Any) -> None:
    await engine.close()
    played = manager(moody(), retries=0)
    groups = await play(played, "a")
    assert outcomes(groups["a"]) == [Outcome.ENGINE_ERROR]
    assert "closed" in groups["a"].turns[-1].info["error"]
    assert groups["a"].turns[-1].context.ids, "the prompt is kept for people to see"


async def test_a_prompt_that_does_not_fit_is_refused_with_its_numbers(manager: Make, moody: Any) -> None:
    groups = await play(manager(moody({"a": "prompt"}), retries=0), "a")
    assert "4096" in groups["a"].turns[-1].info["error"]


async def test_many_failures_are_told_of_a_few_times_in_each_batch(manager: Make, moody: Any, caplog: Any) -> None:
    env = moody(dict.fromkeys("abcdefgh", "raise") | {"long": "prompt", "other": "hang"})
    played = manager(env, retries=0, max_error_frac=1, episode_timeout=600)
    beside = asyncio.ensure_future(play(played, "other"))
    await until(lambda: env.hanging)
    for _ in range(2):
        caplog.clear()
        await play(played, *"abcdefgh", "long", "fine")
        assert played.outcomes == {Outcome.ENV_ERROR: 8, Outcome.ENGINE_ERROR: 1, Outcome.DONE: 1}
        assert caplog.text.count("database is on fire") == 5
        assert caplog.text.count("more episodes that end in env_error are counted") == 1
        assert caplog.text.count("engine_error") == 1
    beside.cancel()
    await asyncio.wait([beside])


async def test_too_many_failures_stop_the_run_and_name_the_first(manager: Make, moody: Any) -> None:
    env = moody({"b": "raise", "c": "raise"})
    names = ("a", "b", "c", "d")
    await play(manager(env, retries=0, max_error_frac=0.5), *names)
    with pytest.raises(TooManyErrors, match=r"2 of 4 .*49%.*max_error_frac.*env_error.*database is on fire"):
        await play(manager(env, retries=0, max_error_frac=0.49), *names)


async def test_wrong_settings_stop_at_once(manager: Make, moody: Any) -> None:
    class Misconfigured(moody):  # type: ignore[misc]
        def make(self, services: Any) -> Any:
            env = super().make(services)

            async def start(*_: Any) -> str:
                raise ConfigError("no such sandbox")

            env.start = start
            return env

    with pytest.raises(ExceptionGroup) as caught:
        await play(manager(Misconfigured(), retries=5), "a")
    assert caught.group_contains(ConfigError, match="no such sandbox")


async def test_concurrency_is_bounded(manager: Make, moody: Any) -> None:
    env, most = moody(turns=3), 0

    class Counted(Independent):
        async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
            nonlocal most
            watching = asyncio.ensure_future(super().run(manager, group, seed, group_size))
            while not watching.done():
                most = max(most, len(env.open))
                await asyncio.sleep(0)
            watching.result()

    await manager(env, concurrency=2).run(Counted(), tasks("a", "b", "c"), 0, 2)
    assert most == 2


@pytest.mark.parametrize("deterministic", [False, True])
async def test_cancelling_leaves_nothing_behind(
    manager: Make, moody: Any, engine: Any, deterministic: bool
) -> None:
    env = moody({"b": "hang", "c": "hang"})
    played = manager(env, episode_timeout=60, deterministic=deterministic)
    before = asyncio.all_tasks()
    running = asyncio.ensure_future(play(played, "a", "b", "c", group_size=2))
    while len(env.hanging) < 4:
        assert not running.done()
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert env.open == set()
    assert not played.running
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() - before if task is not engine._running} == set()
    assert engine.slots_in_use == 0


async def test_an_error_in_one_strategy_cancels_the_others(manager: Make, moody: Any, engine: Any) -> None:
    env = moody({"b": "hang"})

    class Breaks(Independent):
        async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
            if group.id == "a":
                await super().run(manager, group, seed, group_size)
                raise EngineError("lost")
            await super().run(manager, group, seed, group_size)

    with pytest.raises(ExceptionGroup) as caught:
        await manager(env, episode_timeout=60).run(Breaks(), tasks("a", "b"), 0, 1)
    assert caught.group_contains(EngineError, match="lost")
    assert env.open == set()
    assert engine.slots_in_use == 0


async def test_one_seed_gives_one_result_whatever_runs_beside_it(manager: Make, moody: Any) -> None:
    async def said(*ids: str, **guard: Any) -> list[tuple[int, ...]]:
        groups = await play(manager(moody(), **guard), *ids, group_size=2)
        return [turn.action.ids for turn in groups["a"].turns]

    alone = await said("a")
    assert await said("a", "b", "c", deterministic=True) == alone
    assert await said("a", "b", concurrency=1) == alone
    assert len(set(alone)) > 1


async def test_the_oldest_episode_is_known(manager: Make, moody: Any) -> None:
    env = moody({"a": "hang"})
    played = manager(env, episode_timeout=60)
    assert played.oldest() is None
    running = asyncio.ensure_future(play(played, "a", "b"))
    while len(played.running) != 1 or env.attempts.total() < 2:
        assert not running.done()
        await asyncio.sleep(0)
    oldest = played.oldest()
    assert oldest is not None
    assert oldest[0] == "a/0"
    assert oldest[1] >= 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class Halfway:
    """Plays a turn of every episode, waits for `go`, and plays on: until then all of them are parked."""

    def __init__(self) -> None:
        self.parked, self.go = asyncio.Event(), asyncio.Event()

    async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
        walk = await manager.play(group, seed, f"{group.id}/0", turns=1)
        self.parked.set()
        await self.go.wait()
        await manager.play_on(walk)
        walk.commit()


async def test_runs_at_the_same_time_do_not_reach_each_other(manager: Make, moody: Any) -> None:
    """One fails and one is cancelled while a third has an episode parked, which then goes on."""
    env = moody({"b": "raise", "c": "hang"})
    played, strategy = manager(env, retries=0, max_error_frac=0.0, concurrency=4), Halfway()
    third = asyncio.create_task(played.run(strategy, tasks("a"), 0, 1))
    await strategy.parked.wait()
    with pytest.raises(TooManyErrors, match=r"1 of 2 .*on fire"):
        await play(played, "b", "d")
    assert played.outcomes == {Outcome.DONE: 1, Outcome.ENV_ERROR: 1}
    hanging = asyncio.create_task(play(played, "c"))
    while not env.hanging:
        assert not hanging.done()
        await asyncio.sleep(0)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    strategy.go.set()
    [group] = await third
    assert (outcomes(group), group.returns()) == ([Outcome.DONE], [2.0])
    assert played.outcomes == {Outcome.DONE: 1}
    assert env.open == set()
