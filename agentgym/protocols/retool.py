r"""ReTool's text protocol (arXiv 2504.11536): `<code>` runs, `<interpreter>` answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.protocols.answers import FORMS, Style
from agentgym.protocols.tags import TagDialogue, bind_tags
from agentgym.tool import ToolSpec


@dataclass(frozen=True, slots=True)
class Retool:
    r"""Programs of the tool `python` stand in `<code>`, other tools' arguments in tags of the tools' names.

    answer: where the answer stands: in `\boxed{}`, in the tag `<answer>`, or alone in the last turn.
    """

    answer: Style = "boxed"

    def bind(self, specs: Sequence[ToolSpec]) -> TagDialogue:
        return bind_tags(specs, "interpreter", FORMS[self.answer], {"python": "code"})
