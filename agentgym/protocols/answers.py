r"""How an answer is told from the text around it: in `\boxed{}`, between tags, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agentgym.boxed import last_boxed

Style = Literal["boxed", "tag", "text"]


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """how: tells the policy. read: the answer in a text, None where there is none. write: its inverse, for answers
    that the form can hold. tags: the names of its tags."""

    how: str
    read: Callable[[str], str | None]
    write: Callable[[str], str]
    tags: tuple[str, ...] = ()


def last_tagged(text: str) -> str | None:
    """What stands in the last complete `<answer>`, without the white space around it."""
    inside, _, _ = text.rpartition("</answer>")
    _, opened, answer = inside.rpartition("<answer>")
    return answer.strip() if opened else None


def write_tagged(answer: str) -> str:
    """What `last_tagged` reads."""
    return f"<answer>\n{answer}\n</answer>"


def write_boxed(answer: str) -> str:
    """What `last_boxed` reads."""
    return f"\\boxed{{{answer}}}"


def _after_thought(text: str) -> str | None:
    """All of a turn but the thinking of a model that marks it."""
    return text.rpartition("</think>")[2].strip() or None


FORMS: dict[Style, AnswerForm] = {
    "boxed": AnswerForm(
        "When you are sure, give the final answer as \\boxed{answer}, with nothing but the answer inside, and end "
        "your reply.",
        last_boxed,
        write_boxed,
    ),
    "tag": AnswerForm(
        "When you are sure, give the final answer between <answer> and </answer>, with nothing but the answer "
        "inside, and end your reply.",
        last_tagged,
        write_tagged,
        ("answer",),
    ),
    "text": AnswerForm(
        "When you are sure, reply with the final answer alone, without calling a tool.", _after_thought, str
    ),
}
