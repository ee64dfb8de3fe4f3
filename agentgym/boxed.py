r"""The `\boxed{...}` convention for final answers."""

from __future__ import annotations

import re

_MARKS = re.compile(r"\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""What stands in the last complete `\boxed{...}`, braces balanced, `\{` and `\}` not counted."""
    opened: list[int] = []  # where the text within each open brace begins
    start = end = -1
    for mark in _MARKS.finditer(text):
        if mark[0] == "{":
            opened.append(mark.end())
        elif mark[0] == "}" and opened:
            inside = opened.pop()
            if inside > start and text.endswith("\\boxed{", 0, inside):
                start, end = inside, mark.start()
    return None if start < 0 else text[start:end].strip()
