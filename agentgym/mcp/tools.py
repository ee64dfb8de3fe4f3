"""A server's tools in one episode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mcp_types as types

from agentgym.errors import ConfigError, SandboxError, ToolError, did_you_mean
from agentgym.mcp.connection import Connection
from agentgym.mcp.content import as_text
from agentgym.tool import Limits, ToolContext, ToolSpec

if TYPE_CHECKING:
    from agentgym.mcp.toolset import McpToolset

ADVICE = "if no call changes what later calls find, say stateless = true for this server"


@dataclass(eq=False, slots=True)
class Record:
    """What an episode has done with a server's state. changed_by: the tool that may have changed it."""

    changed_by: str = ""
    forked: bool = False


async def open_tools(toolset: McpToolset, connection: Connection) -> list[McpTool]:
    """One for each tool that the toolset wants. Raises ToolFailed, and ConfigError for one that there is not."""
    listed = await connection.tools()
    wanted = listed if toolset.tools is None else toolset.tools
    for name in wanted:
        if name not in listed:
            raise ConfigError(f"tools: {connection.server} has no tool {name!r}: {did_you_mean(name, listed)}")
    record = Record()
    return [McpTool(toolset, connection, listed[name], record) for name in wanted]


class McpTool:
    """One of a server's tools. record: shared by all of an episode's."""

    def __init__(self, toolset: McpToolset, connection: Connection, listed: types.Tool, record: Record) -> None:
        self._toolset, self._connection, self._name, self._record = toolset, connection, listed.name, record
        self._harmless = bool(
            toolset.stateless
            or (toolset.stateless is None and listed.annotations and listed.annotations.read_only_hint)
        )
        self.spec = ToolSpec(toolset.prefix + listed.name, listed.description or "", listed.input_schema)
        self.limits = Limits(timeout=toolset.timeout)
        self.ordered = not self._harmless

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """The server's answer. Raises ToolError with the text of one that it calls an error, ToolTimeout,
        ToolFailed, and SandboxError where forks of the episode would see what the call changes."""
        if not self._harmless:
            self._change()
        result = await self._connection.call(self._name, arguments, self._toolset.timeout)
        if result.is_error:
            raise ToolError(as_text(result))
        return as_text(result)

    def _change(self) -> None:
        if self._record.forked:
            raise SandboxError(
                f"the episode was forked, and {self.spec.name} may change what its forks see: {ADVICE}"
            )
        self._record.changed_by = self.spec.name

    async def fork(self) -> McpTool:
        """Itself, unless the episode may have changed the server's state; raises SandboxError then."""
        if self._record.changed_by:
            raise SandboxError(
                f"{self._record.changed_by} may have changed the state of {self._connection.server}, and that "
                f"cannot be copied: {ADVICE}"
            )
        self._record.forked = True
        return self

    async def close(self) -> None:
        """Nothing is the tool's own; the connection is the run's."""
