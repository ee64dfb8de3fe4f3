"""Recipe delethink, whole: a policy learns to think four windows far, by what it carries over."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentgym.config import build
from agentgym.engine import Sample, Sampling
from agentgym.opening import open_policy
from agentgym.rollout.independent import Independent
from agentgym.run import resolve_settings
from agentgym.runlog import read_metrics
from agentgym.trainers.checkpoint import model_path
from agentgym.trainers.evaluate import summarise

from .learned import agentgym, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("delethink", tmp_path_factory.mktemp("delethink"))


def evaluate(run: Path, *words: str) -> dict[str, Any]:
    """256 tasks that the run has not evaluated on."""
    base = ("eval", "env=delethink", f"model={run}", "seed=987", "-n", "256", "--json")
    result: dict[str, Any] = json.loads(agentgym(*base, *words))
    return result


def test_it_learns_to_think_further_than_its_window(run: Path) -> None:
    rows = {row["evaluation"]: row for row in read_metrics(run) if "evaluation" in row}
    assert rows["cold_start"]["eval/success"] <= 0.7
    found = evaluate(run)
    assert found["success"] >= 0.9
    assert found["tokens"] >= 4 * 48
    assert found["peak_context"] <= 48 + 40, "the chunk's and the question's"


def test_cut_off_at_the_window_it_does_not_get_there(run: Path) -> None:
    assert evaluate(run, "env.rounds=1")["success"] == 0


class Stranger:
    """The engine, which is shown what an earlier thought about another task carried over to the same place."""

    def __init__(self, engine: Any, carry: int) -> None:
        self.engine, self.carry = engine, carry
        self.calls: dict[str, int] = {}
        self.carried: dict[int, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def sample(self, ids: Sequence[int], sampling: Sampling, *, session: str, parent: str | None) -> Sample:
        chunk = self.calls[session] = self.calls.get(session, 0) + 1
        if chunk > 1:
            mine, other = list(ids[-self.carry :]), self.carried.get(chunk)
            self.carried[chunk] = mine
            ids = [*ids[: -self.carry], *(other or mine)]
        sample: Sample = await self.engine.sample(ids, sampling, session=session, parent=parent)
        return sample


async def test_by_what_it_carries_over(run: Path) -> None:
    settings = resolve_settings({"env": "delethink", "model": model_path(str(run))}, [])
    env = build("env", settings.env)
    tasks = env.source().draw(256, random.Random(987), "eval")
    async with open_policy(settings) as (_, _, engine, manager):
        player = manager(1.0)
        player.engine = Stranger(engine, env.carry)
        groups = await player.run(Independent(), [(f"g{i}", task) for i, task in enumerate(tasks)], 0, 1)
    assert summarise(groups).success <= 0.3, "a guess is right once in five"
