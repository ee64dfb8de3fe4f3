"""The action protocol contract: how a policy's text asks for tools and answers, and how results come back.

A protocol reads what the policy said and nothing else: what a tool printed never acts and never scores.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from agentgym.tool import Call, Result, ToolSpec
from agentgym.types import Message, Observation


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that was meant as a call and is none. reason: tells the policy what is wrong and how to do it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Said:
    """What a turn asks for. calls: in the order of the text. text: of a turn without calls, where its answer may
    stand; empty when the turn broke off within a call."""

    calls: tuple[Call | Malformed, ...] = ()
    text: str = ""


class Dialogue(Protocol):
    """A protocol for a given set of tools."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end the policy's turn."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags that a tool's output may not write, such as `code` for `<code>` and `</code>`."""
        ...

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """The tools that the chat template is to announce; empty where `how_to_call` does it."""
        ...

    @property
    def how_to_call(self) -> str:
        """Tells a policy that follows instructions how tools are called."""
        ...

    @property
    def how_to_answer(self) -> str:
        """Tells it how the answer is given."""
        ...

    def parse(self, action: str) -> Said:
        """What a turn asks for. Never raises, whatever the text, and takes time in proportion to its length."""
        ...

    def read_answer(self, text: str) -> str | None:
        """The answer in the text of a turn without calls; None where there is none."""
        ...

    def write_calls(self, calls: Sequence[Call]) -> str:
        """The calls as a policy would write them: `parse` reads the same calls from it. Raises ValueError for one
        that no text of the protocol stands for, such as a call of a tool that has no tag."""
        ...

    def write_answer(self, answer: str) -> str:
        """The answer as a policy would write it: `read_answer` reads the same from it, if the protocol's form can
        hold it (no box holds an odd brace, and the white space around an answer is not kept)."""
        ...

    def observe(self, results: Sequence[Result | Malformed]) -> Observation:
        """What the policy is shown of results, in the order of its calls. Outputs must be neutralised before."""
        ...

    def read(self, observation: Observation) -> list[str]:
        """The outputs in an observation made by `observe`."""
        ...


class ActionProtocol(Hashable, Protocol):
    """A frozen dataclass in `agentgym/protocols/`."""

    def bind(self, specs: Sequence[ToolSpec]) -> Dialogue:
        """The protocol for these tools. Raises ConfigError when it cannot carry them."""
        ...


Prompt = Literal["auto", "plain", "instruct"]
"""`instruct` puts instructions before the question, `plain` does not, `auto` leaves that to whoever knows the
model."""


def opening(question: str | list[Message], prompt: Prompt, instructions: str) -> list[Message]:
    """The first messages: the question as it is (`plain`), or after the instructions."""
    messages: list[Message]
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
    if prompt == "plain":
        return messages
    if messages[0]["role"] == "system":
        system, *messages = messages
        return [{"role": "system", "content": f"{system['content']}\n\n{instructions}"}, *messages]
    return [{"role": "system", "content": instructions}, *messages]
