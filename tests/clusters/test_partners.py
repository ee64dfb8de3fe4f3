"""Partners on replicas: what they keep for an episode goes when it is over, as the policy's does."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from agentgym.config import build
from agentgym.rollout.independent import Independent
from agentgym.run import open_policy, resolve_settings
from agentgym.types import Outcome

from .conftest import Machines

pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")


async def test_nothing_is_kept_for_episodes_that_are_over(machines: Machines) -> None:
    machines.add(cpus=3)
    told: dict[str, Any] = {
        "env": "memory",
        "model": "nano-memory",
        "device": "cpu",
        "partners": {"answerer": "nano-memory"},
        "cluster": {"name": "ray", "address": machines.address, "workers": 1, "engines": 1},
    }
    settings = resolve_settings(told, [])
    tasks = build("env", settings.env).source().draw(4, random.Random(0), "train")
    async with open_policy(settings) as (_, _, engine, manager):
        named = [(f"g{i}", task) for i, task in enumerate(tasks)]
        groups = await manager(1.0).run(Independent(), named, 1, 2)
        spoke = {turn.agent for group in groups for turn in group.turns}
        assert spoke == {"manager", "answerer"}
        assert all(group.outcome(leaf) is not Outcome.ENV_ERROR for group in groups for leaf in group.leaves())
        [replica] = engine.routes.replicas.values()

        async def kept() -> dict[str, int]:
            found: dict[str, int] = await replica.__ray_call__.remote(
                lambda actor: {name: each.slots_in_use for name, each in actor.engines.items()}
            )
            return found

        assert (await kept()).keys() == {"", "answerer"}
        async with asyncio.timeout(60):  # they are released without waiting for it
            while any((await kept()).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
