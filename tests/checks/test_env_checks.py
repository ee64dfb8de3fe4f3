"""Each check of an environment passes on a sound one and fails on one with that very defect."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agentgym.check import check_env
from agentgym.checks import env as checks
from agentgym.checks.harness import Check, run_checks
from agentgym.config import build
from agentgym.env import Demonstration, Env, Snapshot, Split, StepResult
from agentgym.services import Services
from agentgym.types import Task

WORDS = ("alpha", "bravo", "delta", "gamma")


@dataclass(frozen=True)
class Vault:
    """Ask for the password, then say it. defect: which of the environments below is made."""

    defect: str = "none"

    def make(self, services: Services) -> VaultEnv:
        return DEFECTS[self.defect](self, services)

    def source(self) -> Vault:
        return self

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        words = [rng.choice(WORDS) for _ in range(n or 4)]
        return [Task(f"vault-{word}", "What is the password?", word) for word in words]


class VaultEnv(Env):
    asked = 0

    async def start(self, task: Task, rng: random.Random) -> str:
        self.asked = 0
        return str(task.prompt)

    async def act(self, action: str) -> StepResult:
        assert self.task is not None
        if action == "ask":
            self.asked += 1
            return StepResult(f"{self.task.answer}, and you asked {self.asked} times", 0.0, False, False, {})
        return StepResult("", float(action == self.task.answer), True, False, {})

    def demonstrate(self, rng: random.Random) -> Demonstration:
        answer = yield "ask"
        yield str(answer).split(",")[0]


class Undemonstrated(VaultEnv):
    def demonstrate(self, rng: random.Random) -> Demonstration:
        return Env.demonstrate(self, rng)


class Unseeded(VaultEnv):
    openings = itertools.count()

    async def start(self, task: Task, rng: random.Random) -> str:
        return f"{await super().start(task, rng)} ({next(self.openings)})"


class DrawsAtRandom(VaultEnv):
    async def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return await super().reset(seed=next(Unseeded.openings), options=options)


class AnswersAtRandom(VaultEnv):
    async def act(self, action: str) -> StepResult:
        return (await super().act(action))._replace(info={"n": next(Unseeded.openings)})


class SharedState(VaultEnv):
    """Counts in a place that forks share."""

    counts: dict[str, int] = {}  # noqa: RUF012

    async def start(self, task: Task, rng: random.Random) -> str:
        self.counts["asked"] = 0
        return str(task.prompt)

    async def act(self, action: str) -> StepResult:
        self.asked = self.counts["asked"]
        result = await super().act(action)
        self.counts["asked"] = self.asked
        return result


class ForksToItself(VaultEnv):
    async def fork(self, seed: int | None = None) -> Env:
        return self


class ForksToTheStart(VaultEnv):
    async def fork(self, seed: int | None = None) -> Env:
        twin = self.config.make(self.services)
        assert self._log is not None
        await twin.restore(replace(self._log, actions=()))
        return twin


class ForkLosesState(VaultEnv):
    async def fork(self, seed: int | None = None) -> Env:
        twin = await super().fork(seed)
        assert isinstance(twin, VaultEnv)
        twin.asked = 0
        return twin


class RestoreLosesState(VaultEnv):
    async def restore(self, snapshot: Snapshot) -> None:
        await super().restore(snapshot)
        self.asked = 0


class RestoresTheStart(VaultEnv):
    async def restore(self, snapshot: Snapshot) -> None:
        await super().restore(replace(snapshot, actions=()))


class BlindKey(VaultEnv):
    def state_key(self) -> str:
        return "same"


class UnpicklableSnapshot(VaultEnv):
    async def snapshot(self) -> Snapshot:
        found = await super().snapshot()
        return replace(found, task=replace(found.task, info={"hook": lambda: None}))


class BoundToItsProcess(VaultEnv):
    def state_key(self) -> str:
        return f"{os.getpid()}{super().state_key()}"


class ClosesOnce(VaultEnv):
    closed = False

    async def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True
        await super().close()


class Hangs(VaultEnv):
    async def act(self, action: str) -> StepResult:
        await asyncio.Event().wait()
        return await super().act(action)


class Unending(VaultEnv):
    """Never ends: the demonstrator runs out of things to say."""

    async def act(self, action: str) -> StepResult:
        return (await super().act(action))._replace(terminated=False)


class LeavesTask(VaultEnv):
    left: list[Any] = []  # noqa: RUF012

    async def start(self, task: Task, rng: random.Random) -> str:
        self.left.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten"))
        return await super().start(task, rng)


class LeavesProcess(VaultEnv):
    left: list[Any] = []  # noqa: RUF012

    async def start(self, task: Task, rng: random.Random) -> str:
        self.left.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))  # noqa: ASYNC220
        return await super().start(task, rng)


class LeavesFile(VaultEnv):
    async def start(self, task: Task, rng: random.Random) -> str:
        tempfile.mkdtemp(prefix="forgotten-")
        return await super().start(task, rng)


class PaysNothing(VaultEnv):
    async def act(self, action: str) -> StepResult:
        return (await super().act(action))._replace(reward=0.0)


class Pickles(VaultEnv):
    def __reduce__(self) -> Any:
        return (Pickles, (self.config, None))


class Leaks(VaultEnv):
    async def start(self, task: Task, rng: random.Random) -> str:
        return f"{await super().start(task, rng)} (it is {task.answer})"


DEFECTS = {"none": VaultEnv, **{cls.__name__: cls for cls in VaultEnv.__subclasses__()}}

EXPECTED = [
    (Unseeded, checks.same_seed_same_episode, "opens differently"),
    (DrawsAtRandom, checks.same_seed_same_episode, "seed 0 draws task"),
    (AnswersAtRandom, checks.same_seed_same_episode, "answered differently"),
    (SharedState, checks.fork_is_isolated, "reaches their parent"),
    (ForksToItself, checks.fork_is_isolated, "changes its parent"),
    (ForksToTheStart, checks.fork_is_isolated, "not its parent's"),
    (ForkLosesState, checks.fork_is_isolated, "a fork goes on differently"),
    (RestoreLosesState, checks.snapshot_restores, "a restored episode goes on differently"),
    (RestoresTheStart, checks.snapshot_restores, "a restored snapshot has another state_key"),
    (BlindKey, checks.fork_is_isolated, "after different actions"),
    (UnpicklableSnapshot, checks.snapshot_restores, "ickle"),
    (BoundToItsProcess, checks.snapshot_restores, "in another process"),
    (ClosesOnce, checks.close_twice, "closed twice"),
    (Hangs, checks.episodes_end, "hangs"),
    (Unending, checks.episodes_end, "before the episode ends"),
    (LeavesTask, checks.nothing_left_behind, "task forgotten"),
    (LeavesProcess, checks.nothing_left_behind, "process"),
    (LeavesFile, checks.nothing_left_behind, "file forgotten-"),
    (PaysNothing, checks.oracle_beats_silence, "mean return is 0, that of empty answers 0"),
    (Undemonstrated, checks.oracle_beats_silence, "no demonstrator"),
    (Pickles, checks.live_env_is_not_pickled, "was pickled"),
    (Leaks, checks.answer_not_in_prompt, "16 of 16 prompts hold their answer"),
]


@pytest.fixture(autouse=True)
def cleanup() -> Iterator[None]:
    yield
    for process in LeavesProcess.left:
        process.communicate(b"\n")
    for task in LeavesTask.left:
        task.cancel()
    LeavesProcess.left.clear()
    LeavesTask.left.clear()


@pytest.mark.parametrize("config", [Vault(), build("env", "retool")], ids=["vault", "retool"])
async def test_sound_environments_pass(config: Any) -> None:
    results = await check_env(config)
    assert [result for result in results if not result.ok] == []
    assert {result.name.replace(" ", "_") for result in results} == {check.__name__ for _, check, _ in EXPECTED}


@pytest.mark.parametrize(("defect", "check", "reason"), EXPECTED, ids=[cls.__name__ for cls, *_ in EXPECTED])
async def test_each_defect_is_found(defect: type[VaultEnv], check: Check, reason: str) -> None:
    [result] = await run_checks(Vault(defect.__name__), [check], 0.05 if defect is Hangs else 60.0)
    assert not result.ok
    assert reason in result.detail


def test_every_defect_is_tried() -> None:
    assert {cls for cls, *_ in EXPECTED} == set(VaultEnv.__subclasses__())


async def test_retool_keeps_its_promises_on_real_problems(data: Path) -> None:
    results = await check_env(build("env", {"name": "retool", "tasks": str(data / "math" / "gsm8k_test.jsonl")}))
    assert [result for result in results if not result.ok] == []
