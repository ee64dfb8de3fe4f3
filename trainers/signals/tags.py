"""The tags that a policy writes around its tool calls, as signals are told them."""

from __future__ import annotations

import re


def check_tags(call_tags: tuple[str, ...], *others: str) -> None:
    """Raises ValueError unless there are call tags, and each tag is given by its bare name."""
    if not call_tags:
        raise ValueError('call_tags is empty; give at least one, for example ["search"]')
    for tag in (*call_tags, *others):
        if not re.fullmatch(r"[\w-]+", tag):
            raise ValueError(f"a tag is given by its name, as search is for <search>...</search>, not {tag!r}")
