"""agentgym: environments that fork, rollouts that keep exact tokens, and the trainer on top of them.

The package root loads nothing heavy: names resolve on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Env": "agentgym.env",
    "StepResult": "agentgym.env",
    "Engine": "agentgym.engine",
    "Sandbox": "agentgym.sandbox",
    "ToolContext": "agentgym.tool",
    "ToolError": "agentgym.errors",
    "Group": "agentgym.types",
    "Message": "agentgym.types",
    "Outcome": "agentgym.types",
    "Task": "agentgym.types",
    "Tokens": "agentgym.types",
    "Turn": "agentgym.types",
    "limits": "agentgym.tool",
    "make": "agentgym.gym",
    "make_vec": "agentgym.gym",
    "register_gymnasium": "agentgym.gym",
}

__version__ = "0.1.0"
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'agentgym' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
