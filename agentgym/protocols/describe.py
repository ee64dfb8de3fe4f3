"""Tools as text, for models whose chat template does not announce them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentgym.protocols.safe_json import write_json

HOW = """\
To call a function, write its name and its arguments as a JSON object between tags on lines of their own:
<tool_call>
{"name": "the function's name", "arguments": {"the argument's name": "its value"}}
</tool_call>
You may write several calls one after the other; then end your turn, and the results come back."""


def describe(functions: Sequence[Mapping[str, Any]]) -> str:
    """Lists functions, given in OpenAI's form, and tells how Hermes models call them."""
    return f"You can call these functions, described by a JSON object each:\n{list_functions(functions)}\n\n{HOW}"


def list_functions(functions: Sequence[Mapping[str, Any]]) -> str:
    """A line of JSON a function."""
    return "\n".join(write_json(function) for function in functions)


def with_tools_described(messages: Sequence[dict[str, Any]], functions: Sequence[Any]) -> list[dict[str, Any]]:
    """The messages with the functions in words, at the end of the system message."""
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": describe(functions)}, *messages]
    system, *others = messages
    return [{**system, "content": f"{system['content']}\n\n{describe(functions)}"}, *others]
