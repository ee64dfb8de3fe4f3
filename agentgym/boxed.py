r"""The `\boxed{...}` convention for final answers."""

from __future__ import annotations


def last_boxed(text: str) -> str | None:
    r"""What stands in the last complete `\boxed{...}`, braces balanced, `\{` and `\}` not counted."""
    start = len(text)
    while (start := text.rfind("\\boxed{", 0, start)) >= 0:
        inside = start + len("\\boxed{")
        end = _closing_brace(text, inside)
        if end is not None:
            return text[inside:end].strip()
    return None


def _closing_brace(text: str, at: int) -> int | None:
    depth = 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None
