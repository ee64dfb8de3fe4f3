"""Partners on replicas: what they keep for an episode goes when it is over, as the policy's does."""

from __future__ import annotations

import asyncio

import pytest

from agentgym.opening import open_policy
from agentgym.rollout.independent import Independent

from .conftest import Machines
from .played import SIZE, settings, tasks, whole

pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")


async def test_nothing_is_kept_for_episodes_that_are_over(machines: Machines) -> None:
    machines.add(cpus=3)
    cluster = {"name": "ray", "address": machines.address, "workers": 1, "engines": 1}
    async with open_policy(settings(cluster=cluster, partners={"second": "nano"})) as (_, _, engine, manager):
        groups = await manager(1.0).run(Independent(), tasks(4), 1, SIZE)
        whole(groups, 4)
        assert [turn.agent for turn in groups[0].turns].count("second") == SIZE
        [replica] = engine.routes.replicas.values()

        async def kept() -> dict[str, int]:
            found: dict[str, int] = await replica.__ray_call__.remote(
                lambda actor: {name: len(each._slots.sessions) for name, each in actor.engines.items()}
            )
            return found

        assert (await kept()).keys() == {"", "second"}
        async with asyncio.timeout(60):  # they are released without waiting for it
            while any((await kept()).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
