"""Toolset `mcp`: the tools of an MCP server, whatever it is written in."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.config import Spec, convert
from agentgym.errors import ConfigError, did_you_mean
from agentgym.mcp import need_sdk
from agentgym.mcp.address import Address
from agentgym.mcp.variables import Pairs

if TYPE_CHECKING:
    from agentgym.services import Services
    from agentgym.tool import Tool

REMOTE = ("http", "streamable-http", "streamableHttp")
"""Names that `type` in an mcp.json has for the transport at a URL."""


@dataclass(frozen=True)
class McpToolset:
    """The tools of one MCP server. All episodes of a run share one connection with it, and so the server's state.

    command, args, env, cwd: a program that speaks MCP on stdin and stdout; of our environment it gets PATH, HOME
    and the like, and env on top. url, headers: or a server that speaks MCP over HTTP. In the values of env and
    headers `${NAME}` stands for a variable of our environment. start_timeout: seconds until the server has said
    what tools it has. timeout: seconds per call. tools: their names where not all are wanted. prefix: put before
    the names. stateless: whether no call changes what later calls find, so that episodes may fork; if not given,
    they may as long as they call only tools that the server declares read-only.
    """

    command: str = ""
    args: tuple[str, ...] = ()
    env: Pairs = ()
    cwd: str = ""
    url: str = ""
    headers: Pairs = ()
    start_timeout: float = 30.0
    timeout: float = 30.0
    tools: tuple[str, ...] | None = None
    prefix: str = ""
    stateless: bool | None = None

    def __post_init__(self) -> None:
        for name in ("start_timeout", "timeout"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be above 0, not {value}")
        if self.tools is not None and not self.tools:
            raise ValueError("tools: at least one is needed; leave it out for all of the server's")
        _ = self.server  # its fields are checked

    @property
    def server(self) -> Address:
        """Where the server is: what toolsets must agree on to share a connection."""
        return Address(
            self.command, self.args, self.env, self.cwd, self.url, self.headers, start_timeout=self.start_timeout
        )

    async def open(self, services: Services) -> Sequence[Tool]:
        """Tools for a new episode, as the server lists them now. Raises ToolFailed when it cannot be reached, and
        ConfigError for a name in `tools` that it does not have."""
        from agentgym.mcp.tools import open_tools

        return await open_tools(self, await services.get(self.server))


def mcp_toolset(spec: Spec) -> McpToolset:
    """The toolset that `mcp:COMMAND`, `mcp:URL`, `mcp:FILE.json#NAME` or a table of that name stands for.

    Raises ConfigError, and UserError without the SDK.
    """
    need_sdk()
    table: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(table.pop("name", "mcp"))
    kind, _, rest = name.partition(":")
    if kind != "mcp":
        raise ConfigError(f"tool {name!r}: an MCP server's name begins with mcp:")
    if isinstance(table.get("command"), str) and "args" not in table:
        table |= _command(table["command"], name)
    table = {**_named(rest.strip(), name), **table}
    for key in ("env", "headers"):
        if isinstance(table.get(key), Mapping):
            table[key] = sorted(table[key].items())
    return convert(McpToolset, table, where=f"tool {name!r}")


def _named(rest: str, name: str) -> dict[str, Any]:
    """The fields that what follows `mcp:` says."""
    if rest.startswith(("http://", "https://")):
        return {"url": rest}
    file, _, entry = rest.partition("#")
    if Path(file).suffix == ".json" and " " not in rest:
        return _from_file(Path(file), entry)
    return _command(rest, name)


def _command(line: str, name: str) -> dict[str, Any]:
    """Program and arguments of a command line."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"tool {name!r}: {error}") from error
    return {"command": words[0], "args": words[1:]} if words else {}


def _from_file(file: Path, entry: str) -> dict[str, Any]:
    """An entry of an mcp.json, in which other clients keep their servers; what only concerns them is left out."""
    try:
        servers = json.loads(file.read_text(encoding="utf-8"))["mcpServers"]
        known = {name: dict(fields) for name, fields in servers.items()}
    except OSError as error:
        raise ConfigError(f"mcp.json {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f'mcp.json {file}: {{"mcpServers": {{NAME: {{...}}}}}} is needed: {error}') from error
    if entry not in known:
        raise ConfigError(f"mcp.json {file}: no server {entry!r}: {did_you_mean(entry, known)}")
    fields = known[entry]
    transport = fields.get("type", "stdio")
    if transport not in ("stdio", *REMOTE):
        raise ConfigError(
            f"mcp.json {file}: {entry}: type {transport!r}: {did_you_mean(transport, REMOTE)}, stdio"
        )
    return {key: fields[key] for key in ("command", "args", "env", "cwd", "url", "headers") if key in fields}
