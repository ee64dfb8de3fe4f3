"""The protocol of Hermes and Qwen models: calls are JSON in `<tool_call>`, outputs are messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.protocol import Malformed, Said
from agentgym.protocols.answers import FORMS, Style
from agentgym.protocols.blocks import read_blocks
from agentgym.protocols.function_calls import call_object, read_call
from agentgym.protocols.messages import MessageDialogue
from agentgym.protocols.safe_json import BadJson, read_json, write_json
from agentgym.tool import Call, ToolSpec


@dataclass(frozen=True, slots=True)
class Hermes:
    r"""Calls in the form that chat templates with `tools=` announce.

    answer: where the answer stands: in `\boxed{}`, in the tag `<answer>`, or alone in the last turn.
    """

    answer: Style = "boxed"

    def bind(self, specs: Sequence[ToolSpec]) -> HermesDialogue:
        return HermesDialogue(tuple(specs), FORMS[self.answer])


@dataclass(frozen=True, slots=True)
class HermesDialogue(MessageDialogue):
    """Hermes with given tools."""

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return self.tools

    @property
    def how_to_call(self) -> str:
        return "To call a tool, write <tool_call> as you were told, and end your turn. Then you see its output."

    def parse(self, action: str) -> Said:
        blocks, loose = read_blocks(action, ("tool_call",))
        calls = [_read(body) for _, body in blocks]
        if loose is not None and loose.opening:
            calls.append(Malformed("Error: the tool_call tag is not closed."))
        elif loose is not None and not calls:
            calls.append(Malformed("Error: the closing tool_call tag has no opening one before it."))
        return Said(tuple(calls)) if calls else Said((), action)

    def read_answer(self, text: str) -> str | None:
        return self.answers.read(text)

    def write_calls(self, calls: Sequence[Call]) -> str:
        return "\n".join(f"<tool_call>\n{write_json(call_object(call))}\n</tool_call>" for call in calls)

    def write_answer(self, answer: str) -> str:
        return self.answers.write(answer)


def _read(body: str) -> Call | Malformed:
    try:
        return read_call(read_json(body))
    except BadJson as error:
        return Malformed(f"Error: what stands between the tool_call tags is no JSON: {error}.")
