"""Arguments that fit a schema, made up: so that a tool can be tried before a policy calls it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

TEXTS = {
    "date": "2024-05-{:02d}",
    "date-time": "2024-05-{:02d}T12:00:00Z",
    "time": "12:{:02d}:00Z",
    "email": "someone{}@example.org",
    "uri": "https://example.org/{}",
    "uuid": "00000000-0000-4000-8000-{:012d}",
    "duration": "P{}D",
}
DEPTH = 4
"""How deep a type that contains itself is written out, where it must not end earlier."""


def make_arguments(parameters: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Arguments of a tool, others for another number (from 0); those that can be left out are, unless they have
    `examples`."""
    maker = _Maker(parameters.get("$defs", {}), number)
    required = parameters.get("required", [])
    properties = parameters.get("properties", {})
    return {name: maker.value(of) for name, of in properties.items() if name in required or "examples" in of}


class _Maker:
    def __init__(self, definitions: Mapping[str, Any], number: int) -> None:
        self.definitions, self.number = definitions, number

    def value(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """A value that fits."""
        if reference := schema.get("$ref"):
            return self.value(self.definitions[reference.rpartition("/")[2]], depth + 1)
        for key in ("examples", "enum"):
            if schema.get(key):
                return schema[key][self.number % len(schema[key])]
        if "const" in schema:
            return schema["const"]
        arms = schema.get("anyOf") or schema.get("oneOf")
        if arms:
            return self.value(self._arm(arms, depth), depth)
        kind = schema.get("type", "string")
        made = getattr(self, f"_{kind if isinstance(kind, str) else kind[0]}")
        return made(schema, depth)

    def _arm(self, arms: list[Mapping[str, Any]], depth: int) -> Mapping[str, Any]:
        empty = [arm for arm in arms if arm.get("type") == "null"]
        return empty[0] if empty and depth >= DEPTH else next((arm for arm in arms if arm not in empty), arms[0])

    def _string(self, schema: Mapping[str, Any], depth: int) -> str:
        text = TEXTS.get(schema.get("format", ""), "example {}").format(self.number + 1)
        return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]

    def _integer(self, schema: Mapping[str, Any], depth: int) -> int:
        step = int(schema.get("multipleOf", 1))
        low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + 1)
        high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - 1)
        if low == -math.inf:
            low = min(1, high)
        first = math.ceil(low / step) * step
        if first > high:
            first = math.floor(high / step) * step
        room = self.number if high == math.inf else max(0, math.floor((high - first) / step))
        return int(first + step * (self.number % (room + 1)))

    def _number(self, schema: Mapping[str, Any], depth: int) -> float:
        """Strictly between the bounds, where there are any."""
        if "multipleOf" in schema:
            return float(self._integer(schema, depth))
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        if low is not None and high is not None:
            return float(low + (high - low) * (self.number % 7 + 1) / 8)
        if high is not None:
            return float(high - 1 - self.number)
        return float((low or 0) + 1 + self.number)

    def _boolean(self, schema: Mapping[str, Any], depth: int) -> bool:
        return self.number % 2 == 0

    def _null(self, schema: Mapping[str, Any], depth: int) -> None:
        return None

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(item, depth + 1) for item in schema["prefixItems"]]
        length = max(schema.get("minItems", 0), int(depth < DEPTH))
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(length)]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        return {name: self.value(properties[name], depth + 1) for name in schema.get("required", [])}
