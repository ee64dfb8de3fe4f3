"""What all actors have, and where they are put."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

if TYPE_CHECKING:
    from agentgym.clusters.ray import Share

AT_ONCE = 100_000
"""Calls that an actor may have under way; others would wait, also those that cancel or close."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What actors share with the command line where their machine has it: the folder that relative paths begin in,
    and agentgym's variables."""

    folder: Path
    variables: Mapping[str, str]

    @classmethod
    def here(cls) -> Surroundings:
        """This process's."""
        return cls(Path.cwd(), {k: v for k, v in os.environ.items() if k.startswith("AGENTGYM_")})

    def enter(self) -> None:
        """Make them this process's own."""
        if self.folder.is_dir():
            os.chdir(self.folder)
        os.environ.update(self.variables)
        logging.basicConfig(format="agentgym: %(message)s")
        logging.getLogger("agentgym").setLevel(logging.INFO)


class Actor:
    """What all actors have."""

    def __init__(self, surroundings: Surroundings) -> None:
        surroundings.enter()
        self._opened = AsyncExitStack()

    async def live(self) -> None:
        """Does not return: who waits for it is told at once when the actor is lost."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Free what was opened, which would outlive the process."""
        await self._opened.aclose()


def place(role: type[Actor], share: Share, group: Any, bundle: int) -> Any:
    """A new actor in a bundle of a placement group; it is there once there is room."""
    where = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=bundle)
    here = Surroundings.here()
    if not share.gpus:  # ray lets such an actor see all of them
        here = replace(here, variables={**here.variables, "CUDA_VISIBLE_DEVICES": ""})
    remote: Any = ray.remote(role)
    return remote.options(
        num_cpus=share.cpus, num_gpus=share.gpus, max_concurrency=AT_ONCE, scheduling_strategy=where
    ).remote(here)
