"""Rollouts beside updates: how old tokens may get, and that without staleness it is as if taking turns."""

from __future__ import annotations

import asyncio
import importlib
import random
import threading
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from agentgym.config import build
from agentgym.engines.scheduler import TorchEngine
from agentgym.errors import ConfigError
from agentgym.opening import open_policy
from agentgym.run import resolve_settings, train
from agentgym.runlog import read_forests, read_metrics
from agentgym.trainers.ahead import Ahead
from agentgym.trainers.learner import Learner
from agentgym.trainers.plays import Plays
from agentgym.trainers.reduce import token_weights
from agentgym.types import Group

from .conftest import make_rewarded
from .test_critic import PACKINGS, alone
from .test_forgotten_gradient import forgetting
from .test_packed_gradient import FORESTS, Gradient, forest, model

TINY: dict[str, Any] = {
    "env": {"name": "retool", "tasks": {"name": "arith"}},
    "deterministic": True,
    "device": "cpu",
    "batch_size": 3,
    "group_size": 4,
    "max_completion_tokens": 24,
    "eval_tasks": 2,
    "stages": [
        {
            "name": "rl",
            "rollout": "independent",
            "steps": 4,
            "lr": 1e-3,
            "signals": ["env_return"],
            "credit": [
                {"name": "weighted_sum", "weights": {"return": 1.0}},
                {"name": "overlong", "max_length": 24, "buffer": 24},
                "group_relative",
            ],
            "sampler": {"name": "uniform", "drop_zero_spread": False},
            "losses": ["ppo_clip"],
        }
    ],
}


class Quiet:
    """A reporter that says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Batches:
    """Batches that end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.ends: dict[int, asyncio.Event] = {}

    async def play(self, number: int) -> list[Group]:
        self.begun.append(number)
        self.ends[number] = asyncio.Event()
        try:
            await self.ends[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return [make_rewarded(str(number), [0.0])[0].group]


async def wait(batches: Ahead, number: int) -> asyncio.Task[list[Group]]:
    waiting = asyncio.create_task(batches.groups(number))
    for _ in range(3):
        await asyncio.sleep(0)
    return waiting


async def test_only_so_many_batches_are_begun_before_their_turn() -> None:
    played = Batches()
    ahead = Ahead(played.play, end=5, ahead=2)
    for number in range(5):
        waiting = await wait(ahead, number)
        assert played.begun == list(range(min(number + 3, 5)))
        assert not waiting.done()
        played.ends[number].set()
        [group] = await waiting
        assert group.id == str(number)


async def test_batches_under_way_are_given_up_with_the_stage() -> None:
    played = Batches()
    ahead = Ahead(played.play, end=9, ahead=3)
    waiting = await wait(ahead, 0)
    played.ends[0].set()
    await waiting
    await ahead.close()
    assert sorted(played.cancelled) == [1, 2, 3]


async def one_after_the_other(settings: Any) -> dict[str, torch.Tensor]:
    """Training by hand: play, learn, publish, and only then play again."""
    [stage] = settings.stages
    async with open_policy(settings) as (policy, _, engine, manager):
        learner = Learner(policy, optimizer=settings.optimizer)
        plays = Plays(stage, settings, manager(1.0), build("env", settings.env).source())
        for step in range(stage.steps):
            batch = await plays.score(await plays.groups(step, step))
            weights = token_weights([s.length for s in batch], [s.weight for s in batch], "token_mean", None)
            learner.update(batch, weights, plays.losses, lr=stage.lr, microbatch_tokens=16384)
            await engine.load(policy, step + 1)
        return {name: weight.detach().clone() for name, weight in policy.named_parameters()}


async def test_without_staleness_training_is_that_of_taking_turns_to_the_bit(tmp_path: Path) -> None:
    settings = resolve_settings({**TINY, "output_dir": str(tmp_path), "run_name": "run"}, [])
    by_hand = await one_after_the_other(settings)
    path, _ = await train(settings, Quiet())  # type: ignore[arg-type]
    rows = [row for row in read_metrics(path) if "stage" in row]
    assert [row["staleness_max"] for row in rows] == [0] * 4
    async with open_policy(resolve_settings({**TINY, "model": str(path)}, [])) as (trained, *_):
        for name, weight in trained.named_parameters():
            assert torch.equal(weight, by_hand[name]), name


async def test_tokens_are_never_older_than_they_may_be_and_the_metrics_say_how_old(tmp_path: Path) -> None:
    told = {**TINY, "deterministic": False, "max_staleness": 2, "output_dir": str(tmp_path), "run_name": "run"}
    path, _ = await train(resolve_settings(told, []), Quiet())  # type: ignore[arg-type]
    rows = [row for row in read_metrics(path) if "stage" in row]
    assert [row["staleness_max"] <= min(step, 2) for step, row in enumerate(rows)] == [True] * 4
    assert rows[-1]["staleness_max"] > 0
    for step, row in enumerate(rows):
        groups = read_forests(path / "rollouts" / f"step_{step + 1}.jsonl")
        ages = [step - version for g in groups for turn in g.turns for version in turn.action.versions or ()]
        assert row["staleness_max"] == max(ages)
        assert row["staleness"] == pytest.approx(sum(ages) / len(ages))
        assert 0 <= row["engine_idle"] <= 1


@pytest.mark.parametrize("engine", ["torch", {"name": "torch", "dtype": "float32"}])
@pytest.mark.parametrize("job", ["learner:Learner.update", "learner:Learner.recompute", "checkpoint:save"])
async def test_the_learner_does_all_that_takes_long_beside_what_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, engine: Any
) -> None:
    """The loop runs on while the learner is at it, so that tools are heard; an engine that has the learner's own
    weights takes no step meanwhile."""
    where, _, path = job.partition(":")
    owner = importlib.import_module(f"agentgym.trainers.{where}")
    *classes, name = path.split(".")
    for attribute in classes:
        owner = getattr(owner, attribute)
    does, loop, calls = getattr(owner, name), asyncio.get_running_loop(), []
    at_it, steps, step = threading.Event(), [], TorchEngine._step

    def held_up(*arguments: Any, **more: Any) -> Any:
        at_it.set()
        ran = threading.Event()
        loop.call_soon_threadsafe(loop.call_later, 0.1, ran.set)
        calls.append(ran.wait(20))
        try:
            return does(*arguments, **more)
        finally:
            at_it.clear()

    def counted(self: TorchEngine) -> None:
        steps.append(at_it.is_set())
        step(self)

    monkeypatch.setattr(owner, name, held_up)
    monkeypatch.setattr(TorchEngine, "_step", counted)
    [rl] = TINY["stages"]
    credit = [*rl["credit"], "truncated_importance"]
    told = {**TINY, "deterministic": False, "max_staleness": 1, "output_dir": str(tmp_path), "save_every": 2}
    told |= {"dtype": "float64", "engine": engine, "stages": [{**rl, "credit": credit}]}
    path_of_run, _ = await train(resolve_settings(told, []), cast(Any, Quiet()))
    assert len(calls) >= 2
    assert all(calls)
    if engine == "torch":
        assert not any(steps)
    rows = [row for row in read_metrics(path_of_run) if "stage" in row]
    assert max(row["staleness_max"] for row in rows) == 1, "something was played ahead"


def test_runs_that_are_to_be_reproducible_take_turns() -> None:
    with pytest.raises(ConfigError, match="deterministic needs max_staleness=0"):
        resolve_settings({**TINY, "max_staleness": 1}, [])


@pytest.mark.parametrize("packing", PACKINGS)
def test_recomputed_logprobs_are_the_plain_models_turn_by_turn(packing: Any) -> None:
    batch = forgetting(forest(FORESTS["bushy"]))
    learner = Gradient(model(), packing=packing, critic=True)
    learner.recompute(batch, 40)
    for scored in batch:
        assert scored.proximal == pytest.approx(alone(scored, learner.critic)[0], abs=1e-6)
        assert scored.values is None


def test_old_tokens_count_for_less_and_are_clipped_around_the_present() -> None:
    rng = random.Random(0)
    batch = forest(FORESTS["bushy"])
    before = [[token.advantage for _, tokens in scored.by_token() for token in tokens] for scored in batch]
    for scored in batch:
        sampled = [v for turn in scored.turns for v in turn.action.logprobs or ()]
        scored.proximal = [value + rng.choice([-3.0, -0.5, 0.0, 0.4, 2.5]) for value in sampled]
    build("credit", {"name": "truncated_importance", "cap": 2.0, "bound": 5.0})(batch)
    for scored, advantages in zip(batch, before, strict=True):
        sampled = [v for turn in scored.turns for v in turn.action.logprobs or ()]
        assert scored.proximal is not None
        ratios = [torch.tensor(new - old).exp().item() for new, old in zip(scored.proximal, sampled, strict=True)]
        weights = [0.0 if not 1 / 5 <= ratio <= 5 else min(ratio, 2.0) for ratio in ratios]
        wanted = [advantage * weight for advantage, weight in zip(advantages, weights, strict=True)]
        assert scored.token_advantages == pytest.approx(wanted, abs=1e-6)
        learned = [token for _, tokens in scored.by_token() for token in tokens]
        assert [token.old_logprob for token in learned] == scored.proximal
