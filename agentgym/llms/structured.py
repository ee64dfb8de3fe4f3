"""Answers that are data: asked for by a JSON schema, checked, and asked for again when they do not fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from agentgym.errors import LlmError
from agentgym.llm import Llm
from agentgym.types import Message

T = TypeVar("T", bound=msgspec.Struct)


async def ask(
    llm: Llm,
    messages: Sequence[Message],
    kind: type[T],
    *,
    n: int = 1,
    temperature: float = 0.0,
    max_tokens: int = 512,
    tries: int = 2,
) -> list[T]:
    """`n` answers of this kind. Those that do not fit are asked for again, until `tries` are used up: LlmError."""
    schema = schema_of(kind)
    form = f"Answer with one JSON object and nothing else. It must fit this JSON schema:\n{json.dumps(schema)}"
    last = messages[-1]
    asked: list[Message] = [*messages[:-1], {**last, "content": f"{last['content']}\n\n{form}"}]
    answers: list[T] = []
    misfit = ""
    for _ in range(tries):
        missing = n - len(answers)
        for text in await llm.complete(
            asked, n=missing, temperature=temperature, max_tokens=max_tokens, schema=schema
        ):
            try:
                answers.append(read(text, kind))
            except ValueError as error:
                misfit = f"{error}, in {text[:200]!r}"
        if len(answers) == n:
            return answers
    raise LlmError(f"asked {tries} times, the model gave no {kind.__name__} that fits its schema: {misfit}")


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema of a kind, an object at the top, as servers that enforce schemas want it."""
    _, parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema = parts.pop(kind.__name__)
    return {**schema, "$defs": parts} if parts else schema


def read(text: str, kind: type[T]) -> T:
    """The JSON object in the text, whatever is around it; behind `</think>` where there is one. Raises ValueError
    for none or one that does not fit."""
    text = text.rpartition("</think>")[2]
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise ValueError("no JSON object")
    return msgspec.json.decode(text[start : end + 1], type=kind)
