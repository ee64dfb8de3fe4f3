"""OpenEnv's frames, as openenv-core 0.3 reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from agentgym.env import StepResult
from agentgym.types import Message, Observation

Code = Literal[
    "INVALID_JSON", "UNKNOWN_TYPE", "VALIDATION_ERROR", "EXECUTION_ERROR", "CAPACITY_REACHED", "SESSION_ERROR"
]


class Refused(Exception):
    """A frame that is answered by an error."""

    def __init__(self, code: Code, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.data = {"message": message, "code": code, **facts}


class ResetData(msgspec.Struct):
    """Of a reset; other keys are for environments that know them, and ignored."""

    seed: Annotated[int, msgspec.Meta(ge=0)] | None = None
    episode_id: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class Action(msgspec.Struct, forbid_unknown_fields=True):
    """message: what the policy said. metadata: in every action of OpenEnv's; ignored."""

    message: str
    metadata: dict[str, Any] = {}


class Reset(msgspec.Struct, tag="reset", forbid_unknown_fields=True):
    data: ResetData = msgspec.field(default_factory=ResetData)


class Step(msgspec.Struct, tag="step", forbid_unknown_fields=True):
    data: Action


class State(msgspec.Struct, tag="state", forbid_unknown_fields=True):
    pass


class Close(msgspec.Struct, tag="close", forbid_unknown_fields=True):
    pass


Frame = Reset | Step | State | Close
TYPES = ("reset", "step", "state", "close")


def read(text: str) -> Frame:
    """A client's frame; raises Refused."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("INVALID_JSON", f"Invalid JSON: {error}") from error
    kind = found.get("type") if isinstance(found, dict) else None
    if kind not in TYPES:
        raise Refused("UNKNOWN_TYPE", f"Unknown message type: {kind!r}. Known: {', '.join(TYPES)}")
    try:
        return msgspec.convert(found, Frame)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise Refused("VALIDATION_ERROR", f"Invalid message: {error}") from error


def write(kind: Literal["observation", "state", "error"], data: Mapping[str, Any]) -> str:
    """The server's frame. What JSON has no form for is written as its text."""
    return json.dumps({"type": kind, "data": data}, default=str)


def opening(observation: Observation, seed: int) -> dict[str, Any]:
    """The data that answers a reset. seed: the one used, also where none was given."""
    return {"observation": {**_shown(observation), "metadata": {"seed": seed}}, "reward": None, "done": False}


def outcome(result: StepResult) -> dict[str, Any]:
    """The data that answers a step."""
    metadata = {**result.info, "truncated": result.truncated}
    return {
        "observation": {**_shown(result.observation), "metadata": metadata},
        "reward": float(result.reward),
        "done": result.terminated or result.truncated,
    }


def _shown(observation: Observation) -> dict[str, Any]:
    """prompt: all of it as text. messages: one by one; empty where the text continues the policy's own message."""
    if isinstance(observation, str):
        return {"prompt": observation, "messages": []}
    prompt = "\n\n".join(message["content"] for message in observation)
    return {"prompt": prompt, "messages": [_message(message) for message in observation]}


def _message(message: Message) -> dict[str, Any]:
    return {"role": message["role"], "content": message["content"], "sender_id": -1, "category": "MESSAGE"}


_TEXT, _OBJECT, _BOOL = {"type": "string"}, {"type": "object"}, {"type": "boolean"}
_MESSAGE = {"type": "object", "properties": {"role": _TEXT, "content": _TEXT}}
SCHEMA: dict[str, Any] = {
    "action": {
        "title": "Action",
        "type": "object",
        "properties": {"message": {**_TEXT, "description": "What the policy said."}, "metadata": _OBJECT},
        "required": ["message"],
        "additionalProperties": False,
    },
    "observation": {
        "title": "Observation",
        "type": "object",
        "properties": {
            "prompt": {**_TEXT, "description": "What the policy is shown."},
            "messages": {"type": "array", "items": _MESSAGE, "description": "The same as chat messages."},
            "metadata": {"type": "object", "properties": {"truncated": _BOOL}},
            "reward": {"type": ["number", "null"]},
            "done": _BOOL,
        },
    },
    "state": {
        "title": "State",
        "type": "object",
        "properties": {
            "episode_id": {"type": ["string", "null"]},
            "step_count": {"type": "integer"},
        },
    },
}
