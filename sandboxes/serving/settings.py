"""What `agentgym serve` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.config import Spec
from agentgym.ranges import above, at_least
from agentgym.sandboxes.remote.wire import Limits
from agentgym.serving.address import Address


@dataclass(frozen=True)
class Serve(Address):
    """Serves a sandbox to other machines.

    Fields as in Address, and: max_sessions: open at once. max_calls: programs and file transfers at once.
    max_waiting: calls in line for that, each for at most max_wait seconds. max_timeout: seconds that a call may
    take. max_lease: seconds that a session may live without a word from its client. max_body: bytes of a request.
    """

    sandbox: Spec = "local"
    max_sessions: int = 1024
    max_calls: int = 64
    max_waiting: int = 1024
    max_wait: float = 30.0
    max_timeout: float = 600.0
    max_lease: float = 600.0
    max_body: int = 8 << 20

    def __post_init__(self) -> None:
        Address.__post_init__(self)
        above(self, 0, "max_sessions", "max_calls", "max_wait", "max_timeout", "max_lease", "max_body")
        at_least(self, 0, "max_waiting")

    @property
    def limits(self) -> Limits:
        """What clients need to know."""
        return Limits(self.max_timeout, self.max_lease, self.max_body)
