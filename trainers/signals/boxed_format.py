"""Whether the response has the form of an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.boxed import last_boxed
from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.types import Group

if TYPE_CHECKING:
    from agentgym.services import Services

_CODE = re.compile(r"<code>.*?</code>", re.DOTALL)


@dataclass(frozen=True)
class BoxedFormat:
    r"""Signal "boxed_format": 1 if the last turn has exactly one \boxed{...}, closed, and no turn leaves a <code>
    open or a </code> without one; else 0. Reads what the policy wrote, never an observation."""

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            good = _one_box(turns[-1].text) and all(_code_is_closed(turn.text) for turn in turns)
            turns[-1].signals["boxed_format"] = float(good)


def _one_box(text: str) -> bool:
    return text.count(r"\boxed{") == 1 and last_boxed(text) is not None


def _code_is_closed(text: str) -> bool:
    rest = _CODE.sub("", text)
    return "<code>" not in rest and "</code>" not in rest
