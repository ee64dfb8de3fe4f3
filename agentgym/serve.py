"""`agentgym serve`: which server is meant, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from agentgym import config
from agentgym.errors import UserError
from agentgym.extras import need

Say = Callable[[str], None]
SERVERS = {
    "tools": ("agentgym.tools.serving", "ServeTools"),
    "env": ("agentgym.openenv", "ServeEnv"),
    "retriever": ("agentgym.retrievers.serving", "ServeRetriever"),
    "sandbox": ("agentgym.sandboxes.serving", "Serve"),
}
"""What can be served: the package that does it, and its settings. The first that is named: tools have a sandbox,
too."""


def serving(given: Mapping[str, Any], mcp: bool, say: Say) -> Coroutine[Any, Any, None]:
    """The server that `given` names, to be run until it is told to stop. say: told the address.

    Raises UserError for wrong settings and for an extra that is not installed.
    """
    if mcp:
        return _serving_mcp(given, say)
    if "tools" in given and "env" in given:
        raise UserError("serve takes tools= or env=, not both")
    package, settings = SERVERS[next((name for name in SERVERS if name in given), "sandbox")]
    found = config.convert(getattr(import_module(f"{package}.settings"), settings), given, "serve")
    job: Coroutine[Any, Any, None] = need(f"{package}.server", "serve", "agentgym serve").serve(found, say)
    return job


def _serving_mcp(given: Mapping[str, Any], say: Say) -> Coroutine[Any, Any, None]:
    from agentgym.mcp import need_sdk
    from agentgym.mcp.settings import ServeMcp
    from agentgym.tooling.load import toolsets
    from agentgym.tooling.toolbox import Toolbox

    need_sdk()
    rest = dict(given)
    tools = rest.pop("tools", None)
    if not tools:
        raise UserError("serve --mcp: say which tools, as in tools=python,my_tools.py:search")
    settings = config.convert(ServeMcp, rest, "serve --mcp")
    from agentgym.mcp.serve import serve_mcp

    return serve_mcp(partial(Toolbox.open, toolsets(tools)), settings, say)
