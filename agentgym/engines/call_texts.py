"""Tool calls of an API as the text that environments read (see `protocols/hermes.py`), and back.

A call's id stands in its text, and so comes back with the tool's message. Calls that a model wrote as text have
none and stay text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from agentgym.protocols.blocks import read_blocks
from agentgym.protocols.safe_json import BadJson, read_json, write_json

_TAG = "tool_call"


@dataclass(frozen=True, slots=True)
class CallText:
    """arguments: JSON as the model wrote it, which may be none."""

    id: str
    name: str
    arguments: str


def write_calls(content: str, calls: Sequence[CallText]) -> str:
    """What the policy said. Arguments that are no object are written as text, which environments complain
    about."""
    blocks = [f"<{_TAG}>\n{write_json(_object(call))}\n</{_TAG}>" for call in calls]
    return "\n".join([content, *blocks] if content else blocks)


def read_calls(text: str) -> tuple[str, list[CallText]]:
    """The content before the calls, and those calls; the whole text and none unless all have ids."""
    blocks, loose = read_blocks(text, (_TAG,))
    calls = [_read(body) for _, body in blocks]
    found = [call for call in calls if call is not None]
    if not found or len(found) < len(calls) or loose is not None:
        return text, []
    return text[: text.index(f"<{_TAG}>")].removesuffix("\n"), found


def pair_calls(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages in the API's form: calls apart from content, and each output with its call's id.

    Outputs are those of the calls in their order. Where they are not as many, or where the calls are text, outputs
    are shown as the user's messages: an API takes no output without a call.
    """
    paired: list[dict[str, Any]] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        outputs = list(takewhile(lambda m: m["role"] == "tool", messages[at:]))
        at += len(outputs)
        if message["role"] == "assistant":
            content, calls = read_calls(message["content"])
            if calls and len(calls) == len(outputs):
                made = [_call(call) for call in calls]
                paired.append({"role": "assistant", "content": content or None, "tool_calls": made})
                paired += [
                    {"role": "tool", "tool_call_id": call.id, "content": output["content"]}
                    for call, output in zip(calls, outputs, strict=True)
                ]
                continue
        paired += [message, *({"role": "user", "content": output["content"]} for output in outputs)]
    return paired


def _object(call: CallText) -> dict[str, Any]:
    try:
        arguments = read_json(call.arguments or "{}")
    except BadJson:
        arguments = None
    shown = arguments if isinstance(arguments, dict) else call.arguments
    return {"name": call.name, "arguments": shown, "id": call.id}


def _read(body: str) -> CallText | None:
    try:
        value = read_json(body)
    except BadJson:
        return None
    match value:
        case {"name": str(name), "arguments": str() | dict() as arguments, "id": str(call_id)} if call_id:
            return CallText(call_id, name, arguments if isinstance(arguments, str) else json.dumps(arguments))
    return None


def _call(call: CallText) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
