"""The plainest action protocol: a turn that is a JSON object is a call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.protocol import Said
from agentgym.tool import Call, ToolSpec


@dataclass(frozen=True)
class ToolJson:
    def bind(self, specs: Sequence[ToolSpec]) -> Spoken:
        return Spoken(specs)


@dataclass
class Spoken:
    specs: Sequence[ToolSpec]
    stop: tuple[str, ...] = ()

    def parse(self, action: str) -> Said:
        if not action.startswith("{"):
            return Said(text=action)
        asked = json.loads(action)
        return Said((Call(asked["tool"], asked["arguments"]),))
