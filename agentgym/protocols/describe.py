"""Tools in words, for models whose chat template announces none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def describe(functions: Sequence[Mapping[str, Any]]) -> str:
    """One line a tool."""
    return "Tools:\n" + "\n".join(json.dumps(function, ensure_ascii=False) for function in functions)
