"""Search-R1's text protocol (arXiv 2503.09516): `<search>` asks, `<information>` answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agentgym.protocols.answers import FORMS
from agentgym.protocols.tags import TagDialogue, bind_tags
from agentgym.tool import ToolSpec


@dataclass(frozen=True, slots=True)
class SearchR1:
    """Each tool is called in a tag of its name, and the answer stands in `<answer>`. A turn that does neither is
    corrected, and the episode goes on."""

    def bind(self, specs: Sequence[ToolSpec]) -> TagDialogue:
        dialogue = bind_tags(specs, "information", FORMS["tag"])
        ways = " or ".join(f"between {call.tag} tags" for call in dialogue.calls)
        calling = f"Write what a tool is to do {ways}, or" if ways else "Write"
        correction = (
            f"Error: this turn neither calls a tool nor answers. {calling} the final answer between answer tags."
        )
        return replace(dialogue, correction=correction)
