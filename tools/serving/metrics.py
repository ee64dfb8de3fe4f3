"""What a tool server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agentgym.sandboxes.serving.metrics import SECONDS

NAME = "agentgym_tools"


class ToolMetrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.actions = Counter(
            f"{NAME}_actions", "Actions by how they ended.", ["valid", "done"], registry=self._registry
        )
        self.seconds = Histogram(
            f"{NAME}_seconds", "Wall time of requests.", buckets=SECONDS, registry=self._registry
        )
        self.refusals = Counter(f"{NAME}_refusals", "Refusals by reason.", ["reason"], registry=self._registry)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that asks for its value when it is read."""
        Gauge(f"{NAME}_{name}", text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
