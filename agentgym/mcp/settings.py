"""What `agentgym serve --mcp` can be told, besides which tools."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.config import Spec
from agentgym.serving.address import Address

STDIO = -1
"""No port: the one client is whoever started us, over stdin and stdout."""


@dataclass(frozen=True)
class ServeMcp(Address):
    """Offers tools to MCP clients, each with a state of its own.

    Fields as in Address, and: port: of streamable HTTP, at http://HOST:PORT/mcp; without it, stdin and stdout
    serve whoever started us. sandbox: where tools run code.
    """

    port: int = STDIO
    sandbox: Spec = "auto"

    def __post_init__(self) -> None:
        if self.port != STDIO:
            Address.__post_init__(self)
