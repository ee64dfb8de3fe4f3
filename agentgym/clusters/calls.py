"""Calls of actors that may be lost meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
import textwrap
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from agentgym.errors import ClusterError

if TYPE_CHECKING:
    from agentgym.clusters.ray import Share

AT_ONCE = 100_000
"""Calls that an actor may have under way; others would wait, also those that cancel or close."""


WORDS = 120
"""Letters of what ray says of a loss; the rest is for its own logs."""


class Lost(ClusterError):
    """The actor died, its machine did, or what it answered was lost with it."""


async def answer(call: Any) -> Any:
    """What a call gives. Raises what it raised, and Lost. Who stops waiting cancels the call."""
    try:
        return await call
    except asyncio.CancelledError:
        ray.cancel(call)
        raise
    except RayTaskError as error:
        raise error.cause from error
    except (RayActorError, ObjectLostError, NodeDiedError, WorkerCrashedError) as error:
        raise Lost(_reason(error)) from error


def _reason(error: Exception) -> str:
    """In a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("The actor is dead because")), "")
    return textwrap.shorten(told or (lines[0] if lines else type(error).__name__), WORDS)


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
    remote: Any = ray.remote(role)
    return remote.options(
        num_cpus=share.cpus, num_gpus=share.gpus, max_concurrency=AT_ONCE, scheduling_strategy=where
    ).remote(Surroundings.here())
