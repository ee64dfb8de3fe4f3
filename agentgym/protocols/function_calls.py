"""Calls as JSON objects with a name and arguments, as OpenAI, Hermes and Llama write them."""

from __future__ import annotations

from typing import Any

from agentgym.protocol import Malformed
from agentgym.tool import Call

_FORM = 'a call is a JSON object {"name": ..., "arguments": {...}}'


def read_call(value: Any) -> Call | Malformed:
    """The call that a JSON value stands for. `parameters` is another name for its arguments."""
    if not isinstance(value, dict):
        return Malformed(f"Error: {_FORM}.")
    name, call_id = value.get("name"), value.get("id", "")
    if not isinstance(name, str) or not name:
        return Malformed(f"Error: the tool's name must be a string; {_FORM}.")
    if not isinstance(call_id, str):
        return Malformed("Error: a call's id must be a string.")
    if ("arguments" in value) == ("parameters" in value):
        return Malformed(f"Error: the arguments must be given once; {_FORM}.")
    arguments = value.get("arguments", value.get("parameters"))
    if not isinstance(arguments, dict):
        return Malformed(f"Error: the arguments must be an object; {_FORM}.")
    return Call(name, arguments, call_id)


def call_object(call: Call) -> dict[str, Any]:
    """The JSON value that `read_call` reads as `call`."""
    about = {"name": call.tool, "arguments": call.arguments}
    return about | {"id": call.id} if call.id else about
