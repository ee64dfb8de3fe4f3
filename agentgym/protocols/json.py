"""Calls and answers as bare JSON, as Llama 3 and models without a template for tools write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentgym.protocol import Malformed, Said
from agentgym.protocols.answers import FORMS, Style
from agentgym.protocols.describe import list_functions
from agentgym.protocols.function_calls import call_object, read_call
from agentgym.protocols.messages import MessageDialogue
from agentgym.protocols.safe_json import BadJson, read_json, read_leading_json, write_json
from agentgym.tool import Call, ToolSpec

_FENCE = "\n```json"
_MEANT = re.compile(r'\s*(?:\{\s*"|\[\s*\{)')

_HOW = """\
To call a tool, end your turn with a JSON object in a block of its own, or with a list of such objects for \
several calls:
```json
{{"name": "the tool's name", "arguments": {{"the argument's name": "its value"}}}}
```
The outputs are the next messages. The tools:
{tools}"""


@dataclass(frozen=True, slots=True)
class Json:
    r"""The turn, or its last block fenced as json, is a JSON value: a call, a list of calls, or `{"answer": ...}`.

    answer: where the answer may stand in a turn without JSON: in `\boxed{}`, in the tag `<answer>`, or alone.
    """

    answer: Style = "boxed"

    def bind(self, specs: Sequence[ToolSpec]) -> JsonDialogue:
        return JsonDialogue(tuple(specs), FORMS[self.answer])


@dataclass(frozen=True, slots=True)
class JsonDialogue(MessageDialogue):
    """Json with given tools."""

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return ()

    @property
    def how_to_call(self) -> str:
        return _HOW.format(tools=list_functions([spec.function() for spec in self.tools]))

    @property
    def how_to_answer(self) -> str:
        return (
            'When you are sure, end your reply with a block that holds {"answer": "the answer"}, with nothing but '
            "the answer inside."
        )

    def parse(self, action: str) -> Said:
        try:
            value = _json_in(action)
        except BadJson as error:
            return Said((Malformed(f"Error: this is no JSON: {error}."),))
        items = value if isinstance(value, list) else [value]
        if not any(isinstance(item, dict) for item in items) or _is_answer(value):
            return Said((), action)
        return Said(tuple(read_call(item) for item in items))

    def read_answer(self, text: str) -> str | None:
        try:
            value = _json_in(text)
        except BadJson:
            return None
        if not _is_answer(value):
            return self.answers.read(text)
        answer = value["answer"]
        return answer if isinstance(answer, str) else write_json(answer)

    def write_calls(self, calls: Sequence[Call]) -> str:
        objects = [call_object(call) for call in calls]
        return _fence(objects[0] if len(objects) == 1 else objects)

    def write_answer(self, answer: str) -> str:
        return _fence({"answer": answer})


def _fence(value: Any) -> str:
    return f"```json\n{write_json(value)}\n```"


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and "answer" in value and "name" not in value


def _json_in(text: str) -> Any:
    """The JSON value of a turn; None where it has none. Raises BadJson where one was meant."""
    _, fenced, block = f"\n{text}".rpartition(_FENCE)  # no string in JSON holds a line break
    if not fenced:
        return read_json(text) if _MEANT.match(text) else None
    value, rest = read_leading_json(block)
    if rest.strip() and not rest.lstrip().startswith("```"):
        raise BadJson("there is more text after the value's end")
    return value
