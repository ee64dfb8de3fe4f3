"""The tools that can be had here, and why one cannot."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym import config, plugins
from agentgym.errors import AgentgymError
from agentgym.tooling.load import FunctionToolset, toolset


@dataclass(frozen=True, slots=True)
class Entry:
    """name: as `tools=` takes it. source: who brought it. about: what it does, or why it cannot be had; a line."""

    name: str
    source: str
    ok: bool
    about: str


def catalog() -> list[Entry]:
    """Built-in tools and those of installed distributions. Whichever is broken, the others are listed."""
    built_in = config.names("tool")
    entries = [_entry(name, "built-in") for name in built_in]
    for entry in plugins.entry_points(config.KINDS["tool"]):
        source = f"entry point of {plugins.distribution(entry)}"
        if entry.name in built_in:
            taken = f"the name is that of a built-in tool; say {entry.value}"
            entries.append(Entry(entry.name, source, False, taken))
        else:
            entries.append(_entry(entry.name, source))
    return entries


def _entry(name: str, source: str) -> Entry:
    try:
        found = toolset(name)
    except AgentgymError as error:
        return Entry(name, source, False, str(error))
    if not isinstance(found, FunctionToolset):
        return Entry(name, source, True, "a server's tools")
    return Entry(name, source, True, (found.spec.description or "it has no docstring").splitlines()[0])
