"""An engine that dies once, as one does that has processes of its own: whoever asks it is told so from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym.engine import Sample, Sampling
from agentgym.engines.scheduler import TorchEngine
from agentgym.engines.torch import Torch
from agentgym.errors import EngineDead


@dataclass(frozen=True)
class Dying(Torch):
    """once: a file; its absence means that no engine has died yet."""

    once: str = ""

    def start(self, model: Any, tokenizer: Any) -> TorchEngine:
        return DyingEngine(model, tokenizer, self)


class DyingEngine(TorchEngine):
    config: Dying
    dead = False

    async def sample(
        self, ids: Sequence[int], sampling: Sampling, *, session: str | None = None, parent: str | None = None
    ) -> Sample:
        sample = await super().sample(ids, sampling, session=session, parent=parent)
        self.dead = self.dead or self._first()
        if self.dead:
            raise EngineDead("its processes have gone")
        return sample

    def _first(self) -> bool:
        try:
            Path(self.config.once).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
