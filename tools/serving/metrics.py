"""What a tool server counts, for Prometheus."""

from __future__ import annotations

from agentgym.serving.metrics import SECONDS, Metrics


class ToolMetrics(Metrics):
    """The counters of one server."""

    def __init__(self) -> None:
        super().__init__("agentgym_tools")
        self.actions = self.counter("actions", "Actions by how they ended.", "valid", "done")
        self.seconds = self.histogram("seconds", "Wall time of requests.", SECONDS)
