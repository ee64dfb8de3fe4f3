"""Libraries that an extra brings."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from agentgym.errors import ConfigError


def need(module: str, extra: str, who: str = "") -> ModuleType:
    """A module that is one of them, or imports them. who: needs it; itself where empty.

    Raises ConfigError that says how to install the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        why = f"there is no {error.name}" if isinstance(error, ModuleNotFoundError) else str(error)
        raise ConfigError(
            f"{who or module} needs the extra `{extra}` (pip install -e '.[{extra}]'): {why}"
        ) from error
