"""How much the worlds of databases may take."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.errors import EnvError
from agentgym.ranges import above

if TYPE_CHECKING:
    from agentgym.databases.host import WorldHost

START_SECONDS = 60.0  # for the server to begin, and a template to be loaded
SLOWEST = 20  # how much longer than its processor time a statement may take


@dataclass(frozen=True, slots=True)
class Worlds:
    """A service. seconds: of processor time that a statement may take. memory_mb: that a world may take beside its
    template. templates: kept loaded while no new episode needs them."""

    seconds: float = 5.0
    memory_mb: int = 256
    templates: int = 64

    def __post_init__(self) -> None:
        above(self, 0, "seconds", "memory_mb", "templates")

    @property
    def patience(self) -> float:
        """Seconds of wall time after which a world that does not answer is taken for broken."""
        return START_SECONDS + self.seconds * SLOWEST

    async def open(self) -> WorldHost:
        """Raises EnvError where there can be no walls around a database."""
        from agentgym.databases.host import WorldHost
        from agentgym.sandboxes.inside import seccomp

        if not (sys.platform.startswith("linux") and seccomp.SUPPORTED):
            raise EnvError("databases need Linux on x86_64 or aarch64, whose kernel can put walls around them")
        return WorldHost(self)
