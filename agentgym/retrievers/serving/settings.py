"""What `agentgym serve retriever=...` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.config import Spec
from agentgym.ranges import above
from agentgym.serving.address import Address


@dataclass(frozen=True, kw_only=True)
class ServeRetriever(Address):
    """Serves a retriever; an address, and what stands here.

    topk: passages a query, where a request does not say. max_topk: that it may ask for. max_queries: of a request.
    max_body: bytes of a request. max_requests: worked on at once; those beyond are sent away. timeout: seconds
    that a request may take, waiting included.
    """

    retriever: Spec
    port: int = 8000
    topk: int = 3
    max_topk: int = 100
    max_queries: int = 4096
    max_body: int = 8 << 20
    max_requests: int = 1024
    timeout: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "topk", "max_topk", "max_queries", "max_body", "max_requests", "timeout")
        if self.topk > self.max_topk:
            raise ValueError(f"topk={self.topk} is more than max_topk={self.max_topk}")
