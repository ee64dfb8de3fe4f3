r"""ARPO's text protocol (arXiv 2507.19849): `<python>` and `<search>` ask, `<result>` answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.boxed import last_boxed
from agentgym.protocols.answers import AnswerForm, last_tagged, write_boxed, write_tagged
from agentgym.protocols.tags import TagDialogue, bind_tags
from agentgym.tool import ToolSpec


@dataclass(frozen=True, slots=True)
class Arpo:
    r"""Each tool is called in a tag of its name, and the answer stands in `<answer>`, there in `\boxed{}`."""

    def bind(self, specs: Sequence[ToolSpec]) -> TagDialogue:
        return bind_tags(specs, "result", _ANSWERS)


def _read(text: str) -> str | None:
    answer = last_tagged(text)
    boxed = None if answer is None else last_boxed(answer)
    return answer if boxed is None else boxed


def _write(answer: str) -> str:
    boxed = write_boxed(answer)
    return write_tagged(boxed if last_boxed(boxed) == answer else answer)


_ANSWERS = AnswerForm(
    "When you are sure, give the final answer as <answer>\\boxed{answer}</answer>, with nothing but the answer in "
    "the box, and end your reply.",
    _read,
    _write,
    ("answer",),
)
