"""What a sandbox server counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agentgym.errors import SandboxError
from agentgym.sandboxes.remote.wire import Problem

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        name = "agentgym_sandbox"
        self.calls = Counter(
            f"{name}_calls", "Calls by how they ended.", ["call", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            f"{name}_seconds", "Wall time, waiting included.", ["call"], buckets=SECONDS, registry=self._registry
        )
        self.refusals = Counter(f"{name}_refusals", "Refusals by reason.", ["reason"], registry=self._registry)
        self.expired = Counter(f"{name}_expired", "Sessions whose lease ran out.", registry=self._registry)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that asks for its value when it is read."""
        Gauge(f"agentgym_sandbox_{name}", text, registry=self._registry).set_function(value)

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

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


def _status(error: BaseException) -> str:
    if isinstance(error, Problem):
        return error.kind
    return (
        "os_error" if isinstance(error, OSError) else "failed" if isinstance(error, SandboxError) else "cancelled"
    )
