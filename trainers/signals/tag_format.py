"""Whether the whole response keeps to a protocol of tags."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.boxed import last_boxed
from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.trainers.signals.tags import check_tags
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class TagFormat:
    r"""Signal "tag_format": 1 if the response is well formed, else 0 (ARPO, arXiv 2507.19849).

    Each turn but the last makes one call, in one of `call_tags`, and ends with it; the last makes none and gives
    the answer in a \boxed{}. The policy writes no `result_tag`. think: at least one <think>, each closed, is
    demanded; a call may stand inside. answer: exactly one <answer> is demanded, around the box, as the end. Where
    think or answer is false, that tag is not looked at. boxed: where false, the answer needs no box, but must say
    something (Search-R1, arXiv 2503.09516). Reads what the policy wrote, never an observation.
    """

    call_tags: tuple[str, ...] = ("search", "python")
    result_tag: str = "result"
    think: bool = True
    answer: bool = True
    boxed: bool = True

    def __post_init__(self) -> None:
        check_tags(self.call_tags, self.result_tag)

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            texts = [turn.text.rstrip() for turn in turns]
            good = self._tags_in_order(texts) and self._ends_with_answer(texts[-1])
            turns[-1].signals["tag_format"] = float(good)

    def _tags_in_order(self, texts: list[str]) -> bool:
        demanded = [tag for tag, wanted in (("think", self.think), ("answer", self.answer)) if wanted]
        tag = re.compile(rf"</?(?:{'|'.join((*demanded, *self.call_tags, self.result_tag))})>")
        written = "\n".join("".join(tag.findall(text)) for text in texts)
        call = rf"(?:{'|'.join(f'<{tag}></{tag}>' for tag in self.call_tags)})\n"
        response = rf"(?:{call}|<think>(?:{call})*</think>)*(?:<answer></answer>)?"
        call_ends = tuple(f"</{tag}>" for tag in self.call_tags)
        return (
            re.fullmatch(response, written) is not None
            and all(f"<{tag}>" in written for tag in demanded)
            and all(text.endswith(call_ends) for text in texts[:-1])
        )

    def _ends_with_answer(self, last: str) -> bool:
        if self.answer and not last.endswith("</answer>"):
            return False
        said = last.partition("<answer>")[2].removesuffix("</answer>") if self.answer else last
        return last_boxed(said) is not None if self.boxed else bool(said.strip())
