"""The cluster `ray`: env workers, engine replicas and the learner are actors, on as many machines as there are."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.extras import need
from agentgym.ranges import above, at_least

if TYPE_CHECKING:
    from agentgym.cluster import Policy
    from agentgym.parallel import Peers
    from agentgym.trainers.settings import Settings
    from agentgym.trainers.trainer import Reporter


@dataclass(frozen=True, slots=True)
class Share:
    """What an actor has of its machine."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        above(self, 0, "cpus")
        at_least(self, 0, "gpus")


@dataclass(frozen=True)
class Ray:
    """Ray actors on several machines. Whoever is lost is made anew: what an env worker played is played again,
    what a replica was asked is asked of another, and the learner goes on from its last checkpoint.

    address: of a Ray cluster (host:port); `auto` is RAY_ADDRESS or the one that runs on this machine; `local`
    starts one for the run. workers: that play episodes; `concurrency` is for each. engines: replicas. worker,
    engine, learner: what one has of its machine. strategy: how workers and replicas are placed, each among their
    kind. patience: seconds to wait for machines before giving up.
    """

    address: str = "auto"
    workers: int = 2
    engines: int = 1
    worker: Share = field(default_factory=Share)
    engine: Share = field(default_factory=Share)
    learner: Share = field(default_factory=Share)
    strategy: Literal["SPREAD", "PACK", "STRICT_SPREAD", "STRICT_PACK"] = "SPREAD"
    patience: float = 300.0

    def __post_init__(self) -> None:
        at_least(self, 1, "workers", "engines")
        above(self, 0, "patience")

    @property
    def cpus(self) -> float:
        """Of all actors together."""
        return self.workers * self.worker.cpus + self.engines * self.engine.cpus + self.learner.cpus

    def open(self, settings: Settings, peers: Peers, learns: bool) -> AbstractAsyncContextManager[Policy]:
        """See `Cluster`. Raises ConfigError where ray is not installed or no cluster answers, and ClusterError
        where it has no room."""
        self._check(settings, peers)
        from agentgym.clusters.deployment import deployed

        return deployed(self, settings)

    async def train(self, settings: Settings, path: Path, reporter: Reporter, peers: Peers) -> dict[str, Any]:
        """See `Cluster`; raises as `open` does, and ConfigError where `path` is not shared by the machines."""
        self._check(settings, peers)
        from agentgym.clusters.follow import train

        return await train(self, settings, path, reporter)

    def _check(self, settings: Settings, peers: Peers) -> None:
        need("ray", "ray", "cluster ray")
        if peers.size > 1:
            raise ConfigError("cluster ray starts its own processes, and one of them learns: leave torchrun out")
        if settings.deterministic:
            raise ConfigError(
                "deterministic needs cluster=single: which episodes share a batch depends on the machines' speed"
            )
        engine = build("engine", settings.engine)
        if getattr(engine, "brings_model", False):
            raise ConfigError("cluster ray makes replicas of an engine, and this one has its model somewhere else")
        if self.engines > 1 and getattr(engine, "weights_folder", None):
            raise ConfigError(
                "engine.weights_folder: a server takes its weights from one replica: cluster.engines=1"
            )
