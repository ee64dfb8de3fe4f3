"""Finding `<tag>...</tag>` in what a policy said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

TEMPLATE_TAGS = ("tool_call", "tool_response")
"""What chat templates put around calls and outputs, as tokens of their own in some models' vocabularies."""


class Loose(NamedTuple):
    """A tag without its partner. rest: the text from there on."""

    tag: str
    opening: bool
    rest: str


def marks_of(tags: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """The texts that open (True) and close (False) each tag."""
    return {f"<{tag}>": (tag, True) for tag in tags} | {f"</{tag}>": (tag, False) for tag in tags}


def read_blocks(text: str, tags: tuple[str, ...]) -> tuple[list[tuple[str, str]], Loose | None]:
    """The tag and the inside of each block, in order, up to the first tag that has no partner.

    A block ends at the first closing tag of its name; other tags within are part of its text.
    """
    marks, pattern = _marks(tags)
    blocks: list[tuple[str, str]] = []
    at = 0
    while (mark := pattern.search(text, at)) is not None:
        tag, opening = marks[mark[0]]
        closing = f"</{tag}>"
        end = text.find(closing, mark.end()) if opening else -1
        if end < 0:
            return blocks, Loose(tag, opening, text[mark.start() :])
        blocks.append((tag, text[mark.end() : end]))
        at = end + len(closing)
    return blocks, None


@lru_cache(maxsize=256)
def _marks(tags: tuple[str, ...]) -> tuple[dict[str, tuple[str, bool]], re.Pattern[str]]:
    marks = marks_of(tags)
    longest_first = sorted(marks, key=len, reverse=True)
    return marks, re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
