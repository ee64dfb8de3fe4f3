"""An env worker: an actor that plays groups, with environments, tools and sandboxes of its machine."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym import opening, run
from agentgym.clusters.actor import Actor
from agentgym.clusters.replica import POLICY, Facts
from agentgym.clusters.routed_engine import RoutedEngine, Routes
from agentgym.rollout.manager import Played
from agentgym.trainers.checkpoint import model_path
from agentgym.types import Task

if TYPE_CHECKING:
    from agentgym.env import EnvConfig
    from agentgym.rollout.manager import Manager
    from agentgym.rollout.strategy import RolloutStrategy
    from agentgym.trainers.settings import Settings


@dataclass(frozen=True, slots=True)
class Job:
    """A group to be played; the same group, whoever plays it."""

    id: str
    task: Task
    seed: int
    strategy: RolloutStrategy
    group_size: int
    temperature: float


class EnvWorker(Actor):
    """A rollout manager for each temperature, over the same services."""

    async def start(
        self,
        settings: Settings,
        env: EnvConfig,
        facts: Mapping[str, Facts],
        replicas: Mapping[int, Any],
        patience: float,
    ) -> None:
        """Open what episodes need."""
        from agentgym.models.chat import Chat
        from agentgym.models.load import load_tokenizer

        tokenizer = load_tokenizer(model_path(settings.model))
        self._routes, own = Routes(patience), uuid.uuid4().hex
        self._routes.update(replicas)
        engines = {
            name: RoutedEngine(self._routes, known, name, f"{own}:{name}:") for name, known in facts.items()
        }
        policy = engines.pop(POLICY)
        self._make = await self._opened.enter_async_context(
            opening.open_managers(settings, env, opening.Models(None, tokenizer, policy, Chat(tokenizer), engines))
        )
        self._managers: dict[float, Manager] = {}
        self._strategies: dict[str, RolloutStrategy] = {}

    def prepare(self, settings: Settings) -> None:
        """Load the modules that `start` and `play` are given objects of."""
        run.check_components(settings)

    def route(self, replicas: Mapping[int, Any]) -> None:
        """These replicas are up now."""
        self._routes.update(replicas)

    async def play(self, job: Job) -> Played:
        """The group."""
        manager = self._managers.get(job.temperature)
        if manager is None:
            manager = self._managers[job.temperature] = self._make(job.temperature)
        # One of each kind, since some remember earlier groups.
        strategy = self._strategies.setdefault(repr(job.strategy), job.strategy)
        return await manager.play_groups(strategy, [(job.id, job.task)], [job.seed], job.group_size)
