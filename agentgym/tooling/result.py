"""What a tool returned, as the text that a policy reads."""

from __future__ import annotations

from typing import Any

NOTHING = "(no output)"


def to_text(value: Any) -> str:
    """Text as it is, None as `(no output)`, all else as JSON. Raises TypeError for what JSON cannot hold."""
    if isinstance(value, str):
        return str.__str__(value)
    if value is None:
        return NOTHING
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value).decode()
    except PydanticSerializationError as error:
        raise TypeError(f"it returned a {type(value).__name__}, which JSON cannot hold: {error}") from error
