"""What `agentgym serve env=NAME` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.config import Spec
from agentgym.ranges import above
from agentgym.serving.address import Address


@dataclass(frozen=True)
class ServeEnv(Address):
    """Serves an environment to OpenEnv's clients.

    Fields as in Address, and: env: which. max_connections: at once; each has an environment of its own.
    max_timeout: seconds that a reset or step may take. max_idle: seconds that a connection may be silent.
    max_message: bytes of a message.
    """

    env: Spec = ""
    port: int = 8000
    max_connections: int = 256
    max_timeout: float = 300.0
    max_idle: float = 600.0
    max_message: int = 8 << 20

    def __post_init__(self) -> None:
        Address.__post_init__(self)
        if not self.env:
            raise ValueError("env is needed: env=NAME")
        above(self, 0, "max_connections", "max_timeout", "max_idle", "max_message")
