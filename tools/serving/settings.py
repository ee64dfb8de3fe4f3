"""What `agentgym serve tools=...` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.config import Spec
from agentgym.ranges import above, at_least
from agentgym.serving.address import Address


@dataclass(frozen=True, kw_only=True)
class ServeTools(Address):
    """Serves tools to trainers; an address, and what stands here.

    tools: which, as text with commas between them or as a list. protocol: how a policy's text calls them. sandbox:
    for those that need one. workers: processes. max_actions: at once in each of them. max_waiting: in line there;
    those beyond are sent away. timeout: seconds that an action may take, waiting included. idle: seconds until a
    trajectory without actions is given up. max_body: bytes of a request.
    """

    tools: str | list[Spec]
    protocol: Spec = "arpo"
    sandbox: Spec = "auto"
    port: int = 5000
    workers: int = 8
    max_actions: int = 64
    max_waiting: int = 1024
    timeout: float = 300.0
    idle: float = 3600.0
    max_body: int = 64 << 20

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "workers", "max_actions", "timeout", "idle", "max_body")
        at_least(self, 0, "max_waiting")
