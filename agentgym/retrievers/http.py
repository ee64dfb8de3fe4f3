"""Retriever `http`: one in another process or on another machine, where `agentgym serve retriever=...` runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentgym.ranges import above
from agentgym.serving.address import check_url

if TYPE_CHECKING:
    from agentgym.retrievers.http_retriever import HttpRetriever


@dataclass(frozen=True)
class Http:
    """Searches on a server that speaks Search-R1's protocol, ours or theirs.

    url: the server's. token, token_env, token_file: what it wants to be shown: itself, a variable or a file that
    holds it; a token written here is written into the run directory as well. Without any, the variable
    AGENTGYM_TOKEN is looked at. timeout: seconds after which an answer is given up and asked for again. patience:
    seconds after which a search fails, waiting and all tries included. max_connections: requests at once; what is
    asked meanwhile goes into the next one together, up to max_batch queries.
    """

    url: str = "http://127.0.0.1:8000"
    token: str = field(default="", repr=False)
    token_env: str = ""
    token_file: str = ""
    timeout: float = 15.0
    patience: float = 60.0
    max_connections: int = 8
    max_batch: int = 64

    def __post_init__(self) -> None:
        above(self, 0, "timeout", "patience", "max_connections", "max_batch")
        check_url(self.url)

    async def open(self) -> HttpRetriever:
        """Meet the server; raises ToolTimeout or ToolFailed when it does not answer, or refuses the token."""
        from agentgym.retrievers.http_retriever import HttpRetriever

        retriever = HttpRetriever(self)
        try:
            await retriever.meet()
        except BaseException:
            await retriever.close()
            raise
        return retriever
