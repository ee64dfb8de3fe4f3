"""Made-up arguments fit the schema they are made for: the validator, which is another's, takes them."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, strategies
from pydantic import Field

from agentgym.tooling.examples import make_arguments
from agentgym.tooling.schema import read_signature


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Tree:
    name: str
    left: Tree | None
    below: list[Tree]


def many_kinds(
    text: Annotated[str, Field(min_length=12, max_length=14)],
    percent: Annotated[int, Field(ge=0, le=100)],
    even: Annotated[int, Field(gt=10, multiple_of=2)],
    small: Annotated[float, Field(gt=0, lt=0.9)],
    negative: Annotated[int, Field(lt=-3)],
    mode: Literal["a", "b", 3],
    size: Size,
    tree: Tree,
    pairs: list[tuple[int, str]],
    table: dict[str, int],
    either: int | list[str] | None,
    day: datetime.date,
    at: datetime.datetime,
    key: uuid.UUID,
    yes: bool,
    anything: Any,
    three: Annotated[list[int], Field(min_length=3)],
    left_out: int = 0,
) -> str:
    return ""


@given(strategies.integers(0, 20))
def test_they_fit(number: int) -> None:
    signature = read_signature(many_kinds, "many_kinds", "")
    arguments = make_arguments(signature.spec.parameters, number)
    assert "left_out" not in arguments
    signature.bind(arguments)


def test_they_are_the_same_each_time_and_others_for_another_number() -> None:
    def f(a: str, b: int, c: Literal["x", "y"]) -> str:
        return ""

    parameters = read_signature(f, "f", "").spec.parameters
    made = [make_arguments(parameters, number) for number in (0, 1, 0)]
    assert made[0] == made[2]
    assert all(made[0][name] != made[1][name] for name in "abc")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_authors_examples_come_first(number: int) -> None:
    def f(city: Annotated[str, Field(examples=["Bern", "Oslo"])] = "") -> str:
        return ""

    parameters = read_signature(f, "f", "").spec.parameters
    assert make_arguments(parameters, number) == {"city": ["Bern", "Oslo", "Bern"][number]}
