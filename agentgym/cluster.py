"""The cluster contract: where the parts of a run are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agentgym.engine import Engine
from agentgym.parallel import Peers

if TYPE_CHECKING:
    from agentgym.trainers.settings import Settings
    from agentgym.trainers.trainer import Reporter

Policy = tuple[Any, Any, Engine, Callable[[float], Any]]
"""Model and tokenizer (None both where the engine brings its own), engine, and a maker of rollout managers by
temperature."""


class Cluster(Protocol):
    """A frozen dataclass in `agentgym/clusters/`."""

    def open(self, settings: Settings, peers: Peers, learns: bool) -> AbstractAsyncContextManager[Policy]:
        """The policy and who plays it; the model is in this process, which is one of `peers`. learns: whether it
        is trained."""
        ...

    async def train(self, settings: Settings, path: Path, reporter: Reporter, peers: Peers) -> dict[str, Any]:
        """A whole run in the directory `path`; the evaluations by stage."""
        ...
