"""The cluster `single`: one process plays, samples and learns."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym import run

if TYPE_CHECKING:
    from agentgym.cluster import Policy
    from agentgym.trainers.settings import Settings
    from agentgym.trainers.trainer import Reporter


@dataclass(frozen=True)
class Single:
    """No other machine, and no other process but those that tools and engines have."""

    def open(self, settings: Settings) -> AbstractAsyncContextManager[Policy]:
        """See `Cluster`."""
        return run.open_here(settings)

    async def train(self, settings: Settings, path: Path, reporter: Reporter) -> dict[str, Any]:
        """See `Cluster`."""
        return await run.train_here(settings, path, reporter)
