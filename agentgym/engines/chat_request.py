"""What a chat API is sent for a conversation."""

from __future__ import annotations

from typing import Any

from agentgym.engines.call_texts import pair_calls
from agentgym.engines.chat_pieces import RESUMED, SHOWN
from agentgym.errors import ConfigError
from agentgym.protocols.describe import with_tools_described

_GOES_ON = {"add_generation_prompt": False, "continue_final_message": True}


def conversation(messages: list[dict[str, Any]], *, continues: bool, calls_tools: bool) -> dict[str, Any]:
    """The fields of a request that say what was said so far; the last message is the one to be written.

    continues: whether the server can go on with an assistant's message; elsewhere what is shown inside of it is
    the user's message, and the rest another of the assistant's. calls_tools: whether it takes tools; elsewhere
    they are told in words, and called by text. Raises ConfigError for a message begun that the server cannot go
    on with.
    """
    first, *others = messages
    tools = first.pop("tools", [])
    told: list[dict[str, Any]] = []
    for message in (first, *others):
        if message["role"] not in (SHOWN, RESUMED):
            told.append(message)
        elif continues:
            told[-1] = {**told[-1], "content": told[-1]["content"] + message["content"]}
        elif message["role"] == RESUMED or message["content"]:
            told.append({**message, "role": "assistant" if message["role"] == RESUMED else "user"})
    begun = bool(told[-1]["content"])
    fields: dict[str, Any] = _GOES_ON if begun else {}
    if not begun:
        told.pop()
    resumed = messages[-1]["role"] == RESUMED and told[-1]["role"] == "assistant"
    if not continues and (begun or resumed):
        raise ConfigError(
            "engine openai: the policy is to go on with a message that it has begun; set engine.continues=true if "
            "the server can do that (vLLM: continue_final_message)"
        )
    if tools and not calls_tools:
        told, tools = with_tools_described(told, tools), []
    paired = pair_calls(told) if calls_tools else [_as_user(message) for message in told]
    return {"messages": paired, **({"tools": tools} if tools else {}), **fields}


def _as_user(message: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": message["content"]} if message["role"] == "tool" else message
