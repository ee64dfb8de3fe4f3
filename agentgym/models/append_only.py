"""Whether a conversation that is appended turn by turn has the ids of the chat template applied to the whole.

Three things can come out. It has (`equal`). It `differs`: the template writes earlier turns anew once there are
later ones, and the policy goes on from what it saw and said instead. It is `refused`: the template has no place
for such messages, or leaves them out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agentgym.errors import ConfigError
from agentgym.models.chat import Chat
from agentgym.models.template import Template
from agentgym.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Verdict = Literal["equal", "differs", "refused"]

THINKING = "earlier thinking is left out, or an empty one put in"
END = "no token ends the assistant's turn there; here the tokenizer's own does, which the policy samples"
CUT = "the same text is cut into other tokens where what was said meets what the template writes"
SPACE = "white space around what was said is stripped"
PROMPT = "the prompt is written anew (tools or system message move to the newest user message)"
LATER = "later messages are written in another way than the first of their kind"
LEFT_OUT = (
    "messages of the role {} are left out; use an action protocol that answers inside the assistant's message, "
    "such as retool"
)
WHOLE = "the whole is refused, while each of its turns is taken"


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation: the prompt, and in turns what the policy says and what it is shown."""

    prompt: list[Message]
    turns: list[tuple[str, list[Message]]]

    @property
    def roles(self) -> set[str]:
        """Of what the policy is shown."""
        return {message["role"] for _, shown in self.turns for message in shown}


@dataclass(frozen=True, slots=True)
class Finding:
    """What came out of a case. reason: empty for `equal`."""

    case: str
    verdict: Verdict
    reason: str = ""


def _tool(number: int) -> Message:
    return {"role": "tool", "content": f"output{number}", "name": "look", "tool_call_id": f"call{number:05}"}


_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "description": "Look at a thing.",
            "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
        },
    }
]
_SYSTEM: Message = {"role": "system", "content": "system0"}
_ASKED: Message = {"role": "user", "content": "user0"}
_ON: Message = {"role": "user", "content": "user1"}
_WITH_TOOLS: Message = {**_ASKED, "tools": _TOOLS}
_THOUGHT = "<think>\nthought0\n</think>\n\nsaid0"

CASES: Mapping[str, Case] = {
    "user": Case([_ASKED], [("said0", [_ON])]),
    "user, after a system message": Case([_SYSTEM, _ASKED], [("said0", [_ON])]),
    "user, tools announced": Case([_WITH_TOOLS], [("said0", [_ON])]),
    "user, after thinking": Case([_ASKED], [(_THOUGHT, [_ON])]),
    "user, after white space": Case([_ASKED], [(" said0\n", [_ON])]),
    "output": Case([_ASKED], [("said0", [_tool(0)])]),
    "output, after a system message": Case([_SYSTEM, _ASKED], [("said0", [_tool(0)])]),
    "output, tools announced": Case([_WITH_TOOLS], [("said0", [_tool(0)])]),
    "output, after thinking": Case([_ASKED], [(_THOUGHT, [_tool(0)])]),
    "two outputs": Case([_ASKED], [("said0", [_tool(0), _tool(1)])]),
    "output, and again": Case([_ASKED], [("said0", [_tool(0)]), ("said1", [_tool(1)])]),
    "output, then user": Case([_ASKED], [("said0", [_tool(0)]), ("said1", [_ON])]),
    "output and user at once": Case([_ASKED], [("said0", [_tool(0), _ON])]),
}


def inspect(tokenizer: PreTrainedTokenizerBase, roles: Collection[str] = ("user", "tool")) -> list[Finding]:
    """What becomes of every case in which the policy is shown messages of these roles only."""
    chat, template = Chat(tokenizer), Template(tokenizer)
    return [
        Finding(name, *_compare(chat, template, case)) for name, case in CASES.items() if case.roles <= set(roles)
    ]


def _compare(chat: Chat, template: Template, case: Case) -> tuple[Verdict, str]:
    try:
        ids = chat.open(case.prompt)
        before = _opened(chat.decode(ids))  # a thought that the prompt has begun for the policy
        messages: list[Any] = [dict(message) for message in case.prompt]
        for said, shown in case.turns:
            if before and "</think>" not in said:
                said = f"thought\n</think>\n\n{said}"
            added = chat.extend(shown)
            if missing := [m["role"] for m in shown if m["content"] not in chat.decode(added)]:
                return "refused", LEFT_OUT.format(missing[0])
            ids += (*template.encode(said.removeprefix(before)), template.end, *added)
            messages += [{"role": "assistant", "content": before + said.removeprefix(before)}, *shown]
    except ConfigError as error:
        return "refused", str(error)
    tools = messages[0].pop("tools", [])
    try:
        whole = template.encode(template.open(messages, tools))
    except ConfigError:
        return "differs", WHOLE
    if ids == whole:
        return "equal", ""
    if tuple(i for i in ids if i != template.end) == whole:
        return "differs", END
    return "differs", _why(chat.decode(ids), chat.decode(whole), chat.decode(chat.open(case.prompt)))


def _opened(prompt: str) -> str:
    return "<think>\n" if prompt.endswith("<think>\n") else ""


def _why(ours: str, whole: str, prompt: str) -> str:
    """What the template did to earlier turns."""
    if ours == whole:
        return CUT
    if "".join(ours.split()) == "".join(whole.split()):
        return SPACE
    ours, whole, prompt = map(_thoughtless, (ours, whole, prompt))
    if ours == whole:
        return THINKING
    return LATER if whole.startswith(prompt) else PROMPT


def _thoughtless(text: str) -> str:
    """Without white space and thoughts, and without one that has only begun."""
    return "".join(re.sub("<think>.*?(</think>|$)", "", text, flags=re.DOTALL).split())
