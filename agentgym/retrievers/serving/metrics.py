"""What a retriever's server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

NAME = "agentgym_retriever"
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30)
SIZES = tuple(4**i for i in range(8))


class RetrieverMetrics:
    """The counters of one server, in a registry of their own. queries: that the retriever was asked."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            f"{NAME}_requests", "Requests to /retrieve by status.", ["status"], registry=self._registry
        )
        self.queries = Counter(f"{NAME}_queries", "Queries the retriever was asked.", registry=self._registry)
        self.refusals = Counter(f"{NAME}_refusals", "Refusals by reason.", ["reason"], registry=self._registry)
        self.seconds = Histogram(
            f"{NAME}_seconds", "Wall time of requests, waiting included.", buckets=SECONDS, registry=self._registry
        )
        self.sizes = Histogram(
            f"{NAME}_request_queries", "Queries of a request.", buckets=SIZES, registry=self._registry
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that asks for its value when it is read."""
        Gauge(f"{NAME}_{name}", text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
