"""Engine replicas and env workers, as the process that the learner is in has them."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agentgym import opening
from agentgym.clusters.calls import answer
from agentgym.clusters.connection import connected
from agentgym.clusters.crew import Crew
from agentgym.clusters.env_worker import EnvWorker
from agentgym.clusters.fleet import Fleet
from agentgym.clusters.remote_manager import RemoteManager
from agentgym.clusters.replica import POLICY, Facts, Replica
from agentgym.clusters.routed_engine import RoutedEngine, Routes
from agentgym.models.chat import Chat
from agentgym.services import Services
from agentgym.trainers.checkpoint import model_path
from agentgym.vocabulary import Vocabulary

if TYPE_CHECKING:
    from agentgym.cluster import Policy
    from agentgym.clusters.ray import Ray
    from agentgym.trainers.settings import Settings


class Deployment:
    """Tells replicas and workers of each other."""

    def __init__(self, config: Ray, settings: Settings, env: Any) -> None:
        self.config, self.settings, self.env = config, settings, env
        self.crew = Crew(config.patience)
        self.facts: dict[str, Facts] = {}
        self.engine = RoutedEngine(Routes(config.patience), Facts(0, 0))
        self.replicas = Fleet(
            config, Replica, "engine replica", config.engines, config.engine, self._replica_up, self._replica_down
        )
        self.workers = Fleet(
            config, EnvWorker, "env worker", config.workers, config.worker, self._worker_up, self._worker_down
        )

    async def _replica_up(self, number: int, replica: Any) -> None:
        self.facts = await answer(replica.start.remote(self.settings))
        policy = self.facts[POLICY]
        self.engine.max_len, self.engine.vocab_size = policy.max_len, policy.vocab_size
        await self.engine.join(number, replica)
        self._tell()

    def _replica_down(self, number: int, replica: Any) -> None:
        self.engine.routes.lose(number, replica)
        self._tell()

    async def _worker_up(self, number: int, worker: Any) -> None:
        known = dict(self.engine.routes.replicas)
        await answer(worker.prepare.remote(self.settings))
        await answer(worker.start.remote(self.settings, self.env, self.facts, known, self.config.patience))
        self.crew.join(number, worker)
        self._tell()

    def _worker_down(self, number: int, worker: Any) -> None:
        self.crew.lose(worker)

    def _tell(self) -> None:
        """All workers, which replicas are up."""
        for seat in self.crew.seats.values():
            seat.worker.route.remote(dict(self.engine.routes.replicas))


@asynccontextmanager
async def deployed(config: Ray, settings: Settings) -> AsyncIterator[Policy]:
    """See `Cluster.open`."""
    settings = dataclasses.replace(settings, model=model_path(settings.model))
    model, tokenizer = opening.load_player(settings)
    with connected(config):
        deployment = Deployment(config, settings, opening.env_for(settings, model))
        chat = Chat(tokenizer)
        async with (
            Services(Vocabulary.of(tokenizer)) as services,
            deployment.replicas.reserved(),
            deployment.workers.reserved(),
            deployment.replicas.running(),
            deployment.workers.running(),
        ):

            def manager(temperature: float) -> RemoteManager:
                return RemoteManager(deployment.crew, chat, services, settings, temperature)

            yield model, tokenizer, deployment.engine, manager
