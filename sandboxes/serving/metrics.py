"""What a sandbox server counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from agentgym.errors import SandboxError
from agentgym.serving.metrics import SECONDS, Metrics
from agentgym.serving.problem import Problem


class SandboxMetrics(Metrics):
    """The counters of one server."""

    def __init__(self) -> None:
        super().__init__("agentgym_sandbox")
        self.calls = self.counter("calls", "Calls by how they ended.", "call", "status")
        self.seconds = self.histogram("seconds", "Wall time, waiting included.", SECONDS, "call")
        self.expired = self.counter("expired", "Sessions whose lease ran out.")

    @contextmanager
    def call(self, call: str) -> Iterator[list[str]]:
        """Times and counts a call; its status goes into the list, which holds `ok` at first."""
        status, started = ["ok"], time.monotonic()
        try:
            yield status
        except BaseException as error:
            status[0] = _status(error)
            raise
        finally:
            self.calls.labels(call, status[0]).inc()
            self.seconds.labels(call).observe(time.monotonic() - started)


def _status(error: BaseException) -> str:
    if isinstance(error, Problem):
        return error.kind
    return (
        "os_error" if isinstance(error, OSError) else "failed" if isinstance(error, SandboxError) else "cancelled"
    )
