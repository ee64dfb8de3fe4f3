"""What a docstring says of a tool and of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class About:
    """text: what it does and returns, without the other sections. parameters: what is said of each."""

    text: str
    parameters: Mapping[str, str]


def read_docstring(text: str) -> About:
    """A docstring in Google's, NumPy's or reStructuredText's style."""
    from docstring_parser import parse

    found = parse(text)
    parts = [found.description or ""]
    if found.returns is not None and found.returns.description:
        parts.append(f"Returns: {found.returns.description}")
    parameters = {entry.arg_name: " ".join((entry.description or "").split()) for entry in found.params}
    return About("\n\n".join(part.strip() for part in parts if part.strip()), parameters)
