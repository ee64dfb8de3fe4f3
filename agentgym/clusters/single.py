"""The cluster `single`: one process plays, samples and learns, or as many as torchrun has started."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym import opening, run

if TYPE_CHECKING:
    from agentgym.cluster import Policy
    from agentgym.parallel import Peers
    from agentgym.trainers.settings import Settings
    from agentgym.trainers.trainer import Reporter


@dataclass(frozen=True)
class Single:
    """One process, or those that torchrun has started; none besides but those that tools and engines have."""

    def open(self, settings: Settings, peers: Peers, learns: bool) -> AbstractAsyncContextManager[Policy]:
        """See `Cluster`."""
        return opening.open_here(settings, peers, learns)

    async def train(self, settings: Settings, path: Path, reporter: Reporter, peers: Peers) -> dict[str, Any]:
        """See `Cluster`."""
        return await run.train_here(settings, path, reporter, peers)
