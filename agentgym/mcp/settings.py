"""What `agentgym serve --mcp` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentgym.config import Spec


@dataclass(frozen=True)
class ServeMcp:
    """Offers tools to MCP clients, each with a state of its own.

    port: of streamable HTTP, at http://HOST:PORT/mcp; 0 is any free one. Without it the one client is whoever
    started us, over stdin and stdout. host: the address; beyond this machine a token is required. token,
    token_env, token_file: what HTTP clients must show: itself, a variable or a file that holds it. sandbox: where
    tools run code.
    """

    port: int | None = None
    host: str = "127.0.0.1"
    token: str = field(default="", repr=False)
    token_env: str = ""
    token_file: str = ""
    sandbox: Spec = "auto"

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port < 65536:
            raise ValueError(f"port must be between 0 and 65535, not {self.port}")
