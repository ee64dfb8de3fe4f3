"""Dialogues in which outputs are chat messages of the role `tool`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.protocol import Malformed
from agentgym.protocols.answers import AnswerForm
from agentgym.protocols.blocks import TEMPLATE_TAGS
from agentgym.tool import Result, ToolSpec
from agentgym.types import Message, Observation


@dataclass(frozen=True, slots=True)
class MessageDialogue:
    """What such dialogues share. A call of a tool that does not exist is a call: whoever runs it says so."""

    tools: tuple[ToolSpec, ...]
    answers: AnswerForm

    @property
    def stop(self) -> tuple[str, ...]:
        return ()

    @property
    def tags(self) -> tuple[str, ...]:
        return (*self.answers.tags, *TEMPLATE_TAGS)

    @property
    def how_to_answer(self) -> str:
        return self.answers.how

    def observe(self, results: Sequence[Result | Malformed]) -> Observation:
        return [_message(result) for result in results]

    def read(self, observation: Observation) -> list[str]:
        assert not isinstance(observation, str), "made by observe()"
        return [message["content"] for message in observation]


def _message(result: Result | Malformed) -> Message:
    if isinstance(result, Malformed):
        return {"role": "tool", "content": result.reason}
    message: Message = {"role": "tool", "content": result.output, "name": result.call.tool}
    if result.call.id:
        message["tool_call_id"] = result.call.id
    return message
