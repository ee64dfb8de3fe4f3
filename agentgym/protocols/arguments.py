"""A tool's arguments in words, from its JSON schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentgym.tool import ToolSpec


def describe_arguments(spec: ToolSpec) -> list[str]:
    """A line for each: name, kind, whether it may be left out, and what the tool's author says of it."""
    properties: Mapping[str, Any] = spec.parameters.get("properties", {})
    lines = []
    for name, schema in properties.items():
        about = str(schema.get("description", "")) if isinstance(schema, Mapping) else ""
        lines.append(f"{takes(spec, name)}: {about}" if about else takes(spec, name))
    return lines


def takes(spec: ToolSpec, name: str) -> str:
    """`grams (integer, may be left out)`"""
    optional = "" if name in spec.parameters.get("required", []) else ", may be left out"
    return f"{name} ({kind(spec.parameters['properties'][name])}{optional})"


def kind(schema: Any) -> str:
    """What a value may be."""
    if not isinstance(schema, Mapping):
        return "anything"
    if "enum" in schema or "const" in schema:
        return " or ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(kind(arm) for arm in schema["anyOf"])
    return str(schema.get("type", "anything" if "$ref" not in schema else "object"))
