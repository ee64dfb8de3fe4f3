"""Several machines on this one: a real Ray cluster whose nodes are processes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STORE = 200 * 2**20

# Ray reads these when it is imported: nobody else uses the cluster, and nothing is written into the home folder.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex, "RAY_USAGE_STATS_ENABLED": "0"}
os.environ |= {"RAY_memory_monitor_refresh_ms": "0"}  # others may fill the memory


class Machines:
    """A head, where only command lines run, and nodes for actors."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        quickly = {"health_check_period_ms": 1000, "health_check_failure_threshold": 5}
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE, "_system_config": quickly}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self.cluster.address)

    def add(self, cpus: int) -> Any:
        """A node."""
        return self.cluster.add_node(num_cpus=cpus, object_store_memory=STORE)

    def remove(self, node: Any) -> None:
        """At once, with all that runs there."""
        self.cluster.remove_node(node, allow_graceful=False)

    def actors(self, role: str = "") -> dict[int, Any]:
        """Process ids of the actors whose class begins with `role`, and their nodes."""
        found = {}
        for node in self.cluster.worker_nodes:
            [raylet] = node.all_processes["raylet"]
            for child in (
                Path(f"/proc/{raylet.process.pid}/task/{raylet.process.pid}/children").read_text().split()
            ):
                title = title_of(int(child))
                if title.startswith(f"ray::{role}") and not title.startswith(SYSTEM):
                    found[int(child)] = node
        return found

    def close(self) -> None:
        """End all."""
        self.cluster.shutdown()


SYSTEM = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")


def title_of(pid: int) -> str:
    """What the process is called; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode().strip()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """The head alone."""
    pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")
    machines = Machines()
    yield machines
    machines.close()
