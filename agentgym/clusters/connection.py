"""Ray itself: joined or started for a run, and left at its end."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ray

from agentgym.errors import ConfigError

if TYPE_CHECKING:
    from agentgym.clusters.ray import Ray

log = logging.getLogger("agentgym")

ANSWERS = 10.0
"""Seconds that a cluster has to take a connection."""


@contextmanager
def connected(config: Ray) -> Iterator[None]:
    """Within, ray can be used; who uses it already (an actor does) goes on with that. Raises ConfigError."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", config.address) if config.address == "auto" else config.address
    here = {"num_cpus": max(os.cpu_count() or 1, math.ceil(config.cpus))} if address == "local" else {}
    try:
        host, colon, port = address.rpartition(":")
        if colon and port.isdecimal():  # ray itself would try for minutes
            socket.create_connection((host, int(port)), ANSWERS).close()
        log.info("ray: %s", "starts on this machine" if address == "local" else f"joins {address}")
        ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING, **here)
    except Exception as error:  # a node that does not start in time is a bare one
        raise ConfigError(
            f"cluster.address={address}: no Ray cluster can be used there: {error}. `ray start --head` on one "
            "machine and `ray start --address=IT:6379` on the others make one; cluster.address=local starts one "
            "for the run"
        ) from error
    try:
        _tell_unused(config, ray.cluster_resources().get("GPU", 0))
        yield
    finally:
        ray.shutdown()


def _tell_unused(config: Ray, gpus: float) -> None:
    """Engines and learners see the GPUs that they ask for, and no others."""
    without = [f"cluster.{role}.gpus=0" for role in ("engine", "learner") if not getattr(config, role).gpus]
    if gpus and without:
        log.warning("ray: the cluster has %g GPUs; by %s they are not used", gpus, " and ".join(without))
