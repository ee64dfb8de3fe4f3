"""ReSeek's text protocol (arXiv 2510.00568): Search-R1's, and a judgement of every result in `<judge>`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agentgym.protocols.search_r1 import SearchR1
from agentgym.protocols.tags import TagDialogue
from agentgym.tool import ToolSpec

Judgement = Literal["yes", "no"]
TAG = "judge"
_JUDGEMENT = re.compile(r"<judge>\s*(yes|no)\s*</judge>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reseek:
    """Search-R1's tags, and `<judge>Yes</judge>` or `<judge>No</judge>` after each result."""

    def bind(self, specs: Sequence[ToolSpec]) -> TagDialogue:
        return replace(SearchR1().bind(specs), others=(TAG,))


def split_judgement(action: str) -> tuple[Judgement | None, str]:
    """The first judgement in what a policy said, and the rest of it; None where there is none before it calls or
    answers."""
    found = _JUDGEMENT.search(action)
    if found is None or re.search(r"</?(?:search|answer)>", action[: found.start()]):
        return None, action
    judgement: Judgement = "yes" if found[1].lower() == "yes" else "no"
    return judgement, action[: found.start()] + action[found.end() :]


def write_judgement(judgement: Judgement) -> str:
    """What `split_judgement` reads."""
    return f"<{TAG}>{judgement.capitalize()}</{TAG}>"
