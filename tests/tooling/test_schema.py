"""Signatures as schemas, and what a policy is told when its arguments do not fit."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import pytest
from typing_extensions import TypedDict

from agentgym.errors import ConfigError, ToolError
from agentgym.tool import ToolContext
from agentgym.tooling.schema import read_signature

if TYPE_CHECKING:
    import decimal


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 0.0


@dataclass
class Line:
    start: Point
    end: Point


@dataclass
class Tree:
    value: int
    below: list[Tree]


class Window(TypedDict):
    width: int


class User(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)


def signature(function: Any) -> Any:
    return read_signature(function, function.__name__, function.__doc__ or "")


def schema(function: Any) -> Any:
    return signature(function).spec.parameters


def properties(function: Any) -> Any:
    return schema(function)["properties"]


def refusal(function: Any, **arguments: Any) -> list[str]:
    """The lines that a policy is shown."""
    with pytest.raises(ToolError) as refused:
        signature(function).bind(arguments)
    assert "pydantic" not in str(refused.value)
    return str(refused.value).splitlines()


def search(query: str, limit: int = 10, kinds: list[Literal["web", "news"]] | None = None) -> str:
    """Search the web."""
    return query


def test_a_schema_is_plain_json_of_an_object() -> None:
    assert schema(search) == {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "limit": {"type": "integer", "default": 10},
            "kinds": {
                "anyOf": [
                    {"type": "array", "items": {"type": "string", "enum": ["web", "news"]}},
                    {"type": "null"},
                ],
                "default": None,
            },
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters() -> None:
    def now() -> str:
        """The time."""
        return ""

    assert schema(now) == {"type": "object", "properties": {}, "additionalProperties": False}
    assert signature(now).bind({}) == {}
    assert refusal(now, a=1)[1:] == ["a: there is no such argument; Known: nothing", "It takes no arguments."]


def test_definitions_stand_in_their_place() -> None:
    def draw(line: Line, other: Line | None = None, colour: Colour = Colour.RED) -> str:
        return ""

    point = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "number", "default": 0.0}},
        "required": ["x"],
        "additionalProperties": False,
    }
    line = {
        "type": "object",
        "properties": {"start": point, "end": point},
        "required": ["start", "end"],
        "additionalProperties": False,
    }
    assert "$defs" not in schema(draw)
    assert properties(draw)["line"] == line
    assert properties(draw)["other"]["anyOf"][0] == line
    assert properties(draw)["colour"] == {"type": "string", "enum": ["red", "blue"], "default": "red"}


def test_a_type_within_itself_keeps_its_definition() -> None:
    def add(tree: Tree, point: Point) -> str:
        return ""

    assert set(schema(add)["$defs"]) == {"Tree"}
    assert properties(add)["tree"] == {"$ref": "#/$defs/Tree"}
    assert properties(add)["point"]["properties"]["x"] == {"type": "integer"}
    bound = signature(add).bind({"tree": {"value": 1, "below": [{"value": 2, "below": []}]}, "point": {"x": 1}})
    assert bound == {"tree": Tree(1, [Tree(2, [])]), "point": Point(1)}


def test_any_name_is_a_good_name() -> None:
    def odd(schema: int, model_config: int, copy: int, _hidden: int, title: int) -> str:
        return ""

    given = {"schema": 1, "model_config": 2, "copy": 3, "_hidden": 4, "title": 5}
    assert signature(odd).bind(given) == given
    assert list(properties(odd)) == list(given)


GOOGLE = """Search the web.

Newest first.

Args:
    query: What to
        look for.
    limit (int): How many.

Returns:
    One hit a line.
"""
NUMPY = """Search the web.

Newest first.

Parameters
----------
query : str
    What to
    look for.
limit : int
    How many.

Returns
-------
str
    One hit a line.
"""
REST = """Search the web.

Newest first.

:param query: What to
    look for.
:param limit: How many.
:returns: One hit a line.
"""


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstrings_describe_the_tool_and_its_parameters(docstring: str) -> None:
    spec = read_signature(search, "search", docstring).spec
    assert spec.description == "Search the web.\n\nNewest first.\n\nReturns: One hit a line."
    told = {name: about.get("description") for name, about in spec.parameters["properties"].items()}
    assert told == {"query": "What to look for.", "limit": "How many.", "kinds": None}


def test_a_description_in_the_type_hint_stays() -> None:
    def f(n: Annotated[int, pydantic.Field(description="How many.", ge=1)]) -> str:
        return ""

    assert properties(f)["n"] == {"type": "integer", "description": "How many.", "minimum": 1}


def test_the_context_is_no_argument() -> None:
    def f(query: str, where: ToolContext) -> str:
        return ""

    assert list(properties(f)) == ["query"]
    assert signature(f).context == "where"
    assert refusal(f, query="a", where=1)[1].startswith("where: there is no such argument")


def test_what_is_bound_has_the_types_asked_for_and_leaves_defaults_to_the_function() -> None:
    def f(
        n: int, x: float, yes: bool, point: Point, window: Window, user: User, colour: Colour, m: int = 3
    ) -> str:
        return ""

    given: dict[str, Any] = {"n": "5", "x": 2, "yes": "true", "point": {"x": 1}, "window": {"width": 3}}
    given |= {"user": {"name": "Ada", "age": 36}, "colour": "blue"}
    bound = signature(f).bind(given)
    assert bound.pop("user").age == 36
    assert bound == {
        "n": 5,
        "x": 2.0,
        "yes": True,
        "point": Point(1),
        "window": {"width": 3},
        "colour": Colour.BLUE,
    }


USAGE = "It takes query (string), limit (integer, may be left out), kinds (array or null, may be left out)."


def test_a_refusal_says_what_is_wrong_with_each_argument_and_what_there_is() -> None:
    assert refusal(search, qurey="a", limit="many") == [
        "The arguments of search do not fit.",
        "query: is missing",
        'limit: should be a valid integer, unable to parse string as an integer, not "many"',
        "qurey: there is no such argument; did you mean 'query'? Known: kinds, limit, query",
        USAGE,
    ]
    assert refusal(search, query="a", kinds=["web", "wbe"])[1:] == [
        """kinds[1]: should be 'web' or 'news', not "wbe\"""",
        USAGE,
    ]


def test_a_refusal_leads_into_nested_values() -> None:
    def f(line: Line, user: User, size: int | list[int]) -> str:
        return ""

    point = {"x": 1}
    lines = refusal(
        f,
        line={"start": point, "end": {"x": "q", "z": 1}},
        user={"name": "Ada", "age": -1},
        size=[1, "b"],
    )
    assert lines[1].startswith("line.end.x: should be a valid integer")
    assert "line.end.z: there is no such field" in lines[1]
    assert lines[2] == "user.age: should be greater than or equal to 0, not -1"
    assert 'size[1]: should be a valid integer, unable to parse string as an integer, not "b"' in lines[3]


def test_a_long_wrong_value_is_not_repeated_to_its_end() -> None:
    assert len(refusal(search, query="a", limit="9" * 5000)[1]) < 250


def no_hint(query) -> str:  # type: ignore[no-untyped-def]
    return ""


def many(*queries: str) -> str:
    return ""


def named(**options: str) -> str:
    return ""


def nameless(query: str, /) -> str:
    return ""


def unwritable(connection: ToolContext | None = None) -> str:
    return ""


def unreadable(amount: decimal.Decimal) -> str:
    return ""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_hint, "tool 'no_hint': parameter 'query' has no type hint; write `query: str`"),
        (many, "tool 'many': parameter 'queries' takes any number of arguments; write each as a parameter"),
        (named, "tool 'named': parameter 'options' takes any number of arguments"),
        (nameless, "tool 'nameless': parameter 'query' has no name for who calls; write no `/`"),
        (unwritable, "tool 'unwritable': parameter 'connection': .*cannot be written in JSON; write str, int"),
        (unreadable, "tool 'unreadable': its type hints cannot be read: name 'decimal' is not defined. Import"),
    ],
)
def test_what_no_policy_could_send_is_refused_at_once(function: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        signature(function)
