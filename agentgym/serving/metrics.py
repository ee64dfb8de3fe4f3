"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """The counters of one server, in a registry of their own. name: what theirs begin with. refusals: of
    requests."""

    def __init__(self, name: str) -> None:
        self._name, self._registry = name, CollectorRegistry()
        self.refusals = self.counter("refusals", "Refusals by reason.", "reason")

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter for each value of the labels."""
        return Counter(f"{self._name}_{name}", text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """A histogram for each value of the labels."""
        return Histogram(f"{self._name}_{name}", text, labels, registry=self._registry, buckets=buckets)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that asks for its value when it is read."""
        Gauge(f"{self._name}_{name}", text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
