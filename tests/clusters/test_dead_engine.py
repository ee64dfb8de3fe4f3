"""An engine that is dead while its replica lives would answer at once, and draw all that is asked; both go."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentgym.opening import open_policy
from agentgym.rollout.independent import Independent

from .conftest import Machines
from .played import SIZE, settings, tasks, whole

pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")


async def test_its_replica_is_made_anew_and_no_episode_is_lost(machines: Machines, tmp_path: Path) -> None:
    for _ in range(2):
        machines.add(cpus=2)
    once = tmp_path / "died"
    engine = {"name": f"{Path(__file__).parent / 'dying.py'}:Dying", "once": str(once)}
    cluster = {"name": "ray", "address": machines.address, "workers": 1, "engines": 2}
    async with open_policy(settings(cluster=cluster, engine=engine, retries=0)) as (_, _, _, manager):
        before = machines.actors("Replica").keys()
        whole(await manager(1.0).run(Independent(), tasks(8), 5, SIZE), 8)
        assert once.exists()
        assert len(machines.actors("Replica").keys() & before) == 1
