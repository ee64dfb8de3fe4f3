"""What a retriever's server counts, for Prometheus."""

from __future__ import annotations

from agentgym.serving.metrics import Metrics

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30)
SIZES = tuple(4**i for i in range(8))


class RetrieverMetrics(Metrics):
    """queries: that the retriever was asked."""

    def __init__(self) -> None:
        super().__init__("agentgym_retriever")
        self.requests = self.counter("requests", "Requests to /retrieve by status.", "status")
        self.queries = self.counter("queries", "Queries the retriever was asked.")
        self.seconds = self.histogram("seconds", "Wall time of requests, waiting included.", SECONDS)
        self.sizes = self.histogram("request_queries", "Queries of a request.", SIZES)
