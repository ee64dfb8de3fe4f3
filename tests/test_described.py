"""What components say of themselves: `agentgym list KIND NAME` explains every field that it shows."""

import dataclasses
import re
from typing import Any

import pytest

from agentgym import config
from agentgym.described import docstrings
from agentgym.models.load import Lora
from agentgym.trainers.settings import Settings, Stage

COMPONENTS = {f"{kind} {name}": config.resolve(kind, name) for kind in config.KINDS for name in config.names(kind)}


def explained(text: str) -> set[str]:
    """Names before a colon, as in `low, high: ...`, within backticks, and those that can be no other word."""
    flat = " ".join(text.split())
    places = [*re.findall(r"(?:\w+, )*\w+(?=:(?:\s|$))", flat), *re.findall(r"`[^`]+`", flat)]
    return set(re.findall(r"\w+", " ".join(places))) | set(re.findall(r"\w+_\w+", flat))


@pytest.mark.parametrize(
    "component",
    [
        *(pytest.param(cls, id=name) for name, cls in COMPONENTS.items() if dataclasses.is_dataclass(cls)),
        *(Settings, Stage, Lora),
    ],
)
def test_every_field_is_explained(component: Any) -> None:
    given = {field.name for field in dataclasses.fields(component) if field.init}
    assert given <= explained("\n".join(docstrings(component)))
