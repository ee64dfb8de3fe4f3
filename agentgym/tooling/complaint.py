"""What a policy is told when its arguments do not fit: what was expected, what it gave, what there is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym.errors import did_you_mean
from agentgym.protocols.arguments import takes
from agentgym.tool import ToolSpec

SHOWN = 80
"""Characters of a wrong value that are quoted."""


def complain(errors: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], spec: ToolSpec) -> str:
    """pydantic's errors for a policy, an argument a line; at the end, what the tool takes."""
    known: Mapping[str, Any] = spec.parameters["properties"]
    faults: dict[Any, list[str]] = {}
    for error in errors:
        fault = _fault(error, arguments, known)
        told = faults.setdefault(error["loc"][0], [])
        told += [fault] if fault not in told else []
    lines = ["; or ".join(told) for told in faults.values()]  # several for one argument: the arms of a union
    return "\n".join([f"The arguments of {spec.name} do not fit.", *lines, _usage(spec)])


def _fault(error: Mapping[str, Any], arguments: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    path = _path(error["loc"], arguments)
    if error["type"] == "missing":
        return f"{path}: is missing"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        nested = len(error["loc"]) > 1
        return f"{path}: there is no such " + ("field" if nested else f"argument; {did_you_mean(path, known)}")
    wish = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{path}: {wish}, not {_quote(error['input'])}"


def _path(location: Sequence[str | int], arguments: Mapping[str, Any]) -> str:
    """`points[0].x`, without what pydantic adds to a location: the names of a union's arms."""
    path, value = str(location[0]), arguments.get(str(location[0]))
    for place, step in enumerate(location[1:], start=2):
        if isinstance(value, list) and isinstance(step, int) and step < len(value):
            path, value = f"{path}[{step}]", value[step]
        elif isinstance(value, Mapping) and step in value:
            path, value = f"{path}.{step}", value[step]
        elif isinstance(value, Mapping) and place == len(location):
            path = f"{path}.{step}"
    return path


def _quote(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _usage(spec: ToolSpec) -> str:
    return f"It takes {', '.join(takes(spec, name) for name in spec.parameters['properties']) or 'no arguments'}."
