"""Where an MCP server is, and how it is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agentgym.errors import ConfigError, ToolFailed
from agentgym.mcp.variables import Pairs, filled_in

if TYPE_CHECKING:
    from agentgym.mcp.connection import Connection


@dataclass(frozen=True)
class Address:
    """A service: the connection with one server. Fields as in McpToolset."""

    command: str
    args: tuple[str, ...] = ()
    env: Pairs = ()
    cwd: str = ""
    url: str = ""
    headers: Pairs = field(default=(), repr=False)
    start_timeout: float = 30.0

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise ValueError("a command or a url is needed, and not both")
        if self.url and (self.args or self.env or self.cwd):
            raise ValueError("args, env and cwd go with a command, not with a url")
        if self.command and self.headers:
            raise ValueError("headers go with a url, not with a command")
        parts = urlsplit(self.url)
        if self.url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(f"url: http://HOST:PORT/PATH or https://HOST/PATH is needed, not {self.url!r}")

    def __str__(self) -> str:
        return self.url or " ".join((self.command, *self.args))

    async def open(self) -> Connection:
        """Connect; raises ConfigError when the server cannot be reached or has not answered in time, for a first
        time it is not a server that failed, and for a variable that is not set."""
        from agentgym.mcp.connection import Connection

        filled_in((*self.env, *self.headers))
        connection = Connection(self)
        try:
            await connection.session()
        except BaseException as error:
            await connection.close()
            if isinstance(error, ToolFailed):
                raise ConfigError(str(error)) from error
            raise
        return connection
