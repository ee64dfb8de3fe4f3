"""Env workers and engine replicas that die in the middle of episodes: no group is missing or there twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from agentgym.opening import open_here, open_policy
from agentgym.rollout.independent import Independent
from agentgym.types import Group, Outcome

from .conftest import Machines
from .played import SIZE, settings, tasks, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def policy(machines: Machines) -> AsyncIterator[Any]:
    """Two env workers and two replicas on two machines."""
    for _ in range(2):
        machines.add(cpus=2)
    cluster = {"name": "ray", "address": machines.address, "workers": 2, "engines": 2}
    async with open_policy(settings(cluster=cluster, retries=0, max_error_frac=0.5)) as parts:
        yield parts
    assert not machines.actors(), "all actors end with the policy"


def said(groups: list[Group]) -> list[list[tuple[str, tuple[int, ...]]]]:
    """What was shown and said in each turn of each group."""
    return [[(turn.observation, turn.action.ids) for turn in group.turns] for group in groups]


async def test_groups_are_those_of_one_process(policy: Any) -> None:
    _, _, _, manager = policy
    groups = await manager(1.0).run(Independent(), tasks(8), 5, SIZE)
    whole(groups, 8)
    async with open_here(settings()) as (_, _, _, here):
        assert said(groups) == said(await here(1.0).run(Independent(), tasks(8), 5, SIZE))


async def test_what_a_dead_worker_played_is_played_again(
    policy: Any, machines: Machines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, _, manager = policy
    before = machines.actors("EnvWorker")
    once = tmp_path / "killed"
    with caplog.at_level("INFO", "agentgym"):
        groups = await manager(1.0).run(Independent(), tasks(8, g3={"once": str(once)}), 5, SIZE)
    assert once.exists()
    whole(groups, 8)
    assert "are played again" in caplog.text
    assert len(machines.actors("EnvWorker").keys() & before.keys()) == 1
    calm = await manager(1.0).run(Independent(), tasks(8), 5, SIZE)
    assert said(calm) == said(groups)


async def test_what_a_dead_replica_was_asked_is_asked_of_another(
    policy: Any, machines: Machines, tmp_path: Path
) -> None:
    _, _, _, manager = policy
    calm = await manager(1.0).run(Independent(), tasks(8), 7, SIZE)
    pid = min(machines.actors("Replica"))
    once = tmp_path / "killed"
    groups = await manager(1.0).run(Independent(), tasks(8, g3={"once": str(once), "pid": pid}), 7, SIZE)
    assert once.exists()
    assert pid not in machines.actors("Replica")
    whole(groups, 8)
    assert said(calm) == said(groups)


async def test_a_task_that_kills_every_worker_is_given_up_and_the_others_are_not(policy: Any) -> None:
    _, _, _, manager = policy
    playing = manager(1.0)
    groups = await playing.run(Independent(), tasks(6, g1={"always": True}), 9, SIZE)
    assert [group.id for group in groups] == [f"g{i}" for i in range(6)]
    for group in groups:
        wanted = Outcome.ENV_ERROR if group.id == "g1" else Outcome.DONE
        assert [group.outcome(leaf) for leaf in group.leaves()] == [wanted] * SIZE
    assert playing.outcomes == {Outcome.DONE: 5 * SIZE, Outcome.ENV_ERROR: SIZE}
    told = {turn.info["error"] for turn in groups[1].turns}
    assert len(told) == 1
    assert "3 env workers were lost with group g1, those at the end with it alone" in told.pop()


async def test_a_replica_made_anew_has_the_weights_of_the_others(policy: Any, machines: Machines) -> None:
    from agentgym.clusters.replica import POLICY

    model, tokenizer, engine, _ = policy
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    await engine.load(model, 7)
    ids = tokenizer.encode("What is the sum of 17 and 4?")
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    wanted = [0.0, *(float(logprobs[i, token]) for i, token in enumerate(ids[1:]))]

    async def all_replicas_agree() -> None:
        for number in list(engine.routes.replicas):
            scored = await engine.routes.replicas[number].score.remote(POLICY, ids)
            assert scored.logprobs == pytest.approx(wanted, abs=1e-4)
            assert set(scored.versions) == {7}

    await all_up(engine, 2)
    await all_replicas_agree()
    for pid in machines.actors("Replica"):
        os.kill(pid, signal.SIGKILL)
    scored = await engine.score(ids)  # waits for one that is made anew
    assert scored.logprobs == pytest.approx(wanted, abs=1e-4)
    await all_up(engine, 2)
    await all_replicas_agree()


async def all_up(engine: Any, count: int) -> None:
    async with asyncio.timeout(120):
        while len(engine.routes.replicas) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
