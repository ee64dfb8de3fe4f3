"""Tools as authors write them who import the context for type checkers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentgym.tool import ToolContext


def whose(context: ToolContext) -> str:
    """Name the episode."""
    return context.trajectory
