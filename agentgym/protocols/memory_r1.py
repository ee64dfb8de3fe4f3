"""What Memory-R1's agents say (arXiv 2508.19828): a manager its operations, as JSON; an answerer the memories it
relies on, and then the answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from agentgym.errors import did_you_mean
from agentgym.protocols.answers import last_tagged, write_tagged
from agentgym.protocols.safe_json import BadJson, read_json, write_json

Event = Literal["ADD", "UPDATE", "DELETE", "NOOP"]
EVENTS: tuple[Event, ...] = get_args(Event)
STOP = "</answer>"
TAGS = ("memories", "answer")
HOW_TO_MANAGE = """\
You keep a memory of a conversation, which you see part by part. After each part reply with nothing but JSON that \
says what to change in the memory, such as
{"memory": [{"event": "ADD", "text": "what to remember"}, {"event": "UPDATE", "id": 3, "text": "what is now so"}, \
{"event": "DELETE", "id": 4}]}
or {"memory": [{"event": "NOOP"}]} where nothing needs to change. Remember what may be asked later: you will not \
see the conversation again. Update or delete what is no longer so."""
HOW_TO_ANSWER = """\
Answer the question from the memories alone. Write first the memories that you need, each on a line of its own as \
it is shown, between <memories> and </memories>, and then the answer, in a few words, between <answer> and \
</answer>."""
_FENCED = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)
_SELECTED = re.compile(r"<memories>(.*?)</memories>", re.DOTALL)
_ID = re.compile(r"\[(\d{1,9})\]\s*$", re.MULTILINE)


class BadOperations(ValueError):
    """No operations. The text tells the policy why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A change of the memory. id: of what is updated or deleted. text: what is remembered from now on."""

    event: Event
    id: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """selected: ids of the memories that were written before the answer. answer: None where there is none."""

    selected: tuple[int, ...]
    answer: str | None


def read_operations(text: str) -> tuple[Operation, ...]:
    """The operations in a manager's turn; none for NOOP. Raises BadOperations."""
    body = text.rpartition("</think>")[2].strip()
    fenced = _FENCED.fullmatch(body)
    try:
        value = read_json(fenced[1] if fenced else body)
    except BadJson as error:
        raise BadOperations(f"this is no JSON: {error}") from None
    changes = value.get("memory") if isinstance(value, dict) else None
    if not isinstance(changes, list):
        raise BadOperations('an object with the key "memory" and a list of operations is needed')
    found = [_operation(change) for change in changes]
    return tuple(operation for operation in found if operation.event != "NOOP")


def write_operations(operations: Iterable[Operation]) -> str:
    """What `read_operations` reads."""
    changes = []
    for operation in operations:
        change: dict[str, Any] = {"event": operation.event}
        if operation.id is not None:
            change["id"] = operation.id
        if operation.text:
            change["text"] = operation.text
        changes.append(change)
    return write_json({"memory": changes or [{"event": "NOOP"}]})


def read_answered(text: str) -> Answered:
    """What an answerer's turn holds."""
    selected = _SELECTED.search(text)
    ids = _ID.findall(selected[1]) if selected else ()
    return Answered(tuple(map(int, ids)), last_tagged(text))


def write_answered(lines: Sequence[str], answer: str) -> str:
    """What `read_answered` reads. lines: the memories as they were shown."""
    return "<memories>\n{}\n</memories>\n{}".format("\n".join(lines) or "none", write_tagged(answer))


def _operation(change: Any) -> Operation:
    if not isinstance(change, dict) or not isinstance(change.get("event"), str):
        raise BadOperations('each operation is an object with an "event"')
    name = change["event"].upper()
    event: Event | None = "NOOP" if name == "NONE" else next((e for e in EVENTS if e == name), None)
    if event is None:
        raise BadOperations(f"there is no such event: {did_you_mean(name[:20], EVENTS)}")
    if event == "NOOP":
        return Operation(event)
    number = None if event == "ADD" else _id(change.get("id"), event)
    if event == "DELETE":
        return Operation(event, number)
    text = change.get("text")
    if not (isinstance(text, str) and text.strip()):
        raise BadOperations(f'{event} needs the "text" to remember')
    return Operation(event, number, " ".join(text.split()))  # a memory is one line


def _id(value: Any, event: Event) -> int:
    """An id, which models write as a number or as a text."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadOperations(f'{event} needs the "id" of a memory')
    return value
