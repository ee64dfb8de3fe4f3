"""A function's signature as the schema that a policy is shown, and the check of what it sends."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym.errors import ConfigError, ToolError
from agentgym.tool import ToolContext, ToolSpec
from agentgym.tooling.complaint import complain
from agentgym.tooling.docstring import About, read_docstring

if TYPE_CHECKING:
    from pydantic import BaseModel

REFS = "#/$defs/"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a tool is called. context: the parameter that gets the episode's ToolContext, if there is one."""

    spec: ToolSpec
    context: str | None
    _model: type[BaseModel]
    _names: Mapping[str, str]  # of the model's fields, as parameters

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the types that the function asks for. Raises ToolError saying what does not fit."""
        from pydantic import ValidationError

        try:
            given = self._model.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolError(complain(error.errors(include_url=False), arguments, self.spec)) from None
        return {self._names[field]: getattr(given, field) for field in given.model_fields_set}


def read_signature(function: Callable[..., Any], name: str, docstring: str) -> Signature:
    """The signature of a function, or of a bound method.

    Raises ConfigError naming the parameter that a policy could not be asked for.
    """
    from pydantic import ConfigDict, create_model

    about = read_docstring(docstring)
    hints = _hints(function, name)
    context: str | None = None
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = _hint(parameter, hints, name)
        if hint is ToolContext:
            context = parameter.name
            continue
        _check_schema(hint, parameter, name)
        field = f"argument_{len(fields)}"  # any parameter's name is free: it is an alias
        fields[field], names[field] = (hint, _field(parameter, about)), parameter.name
    model = create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
    return Signature(ToolSpec(name, about.text, _schema_of(model)), context, model, names)


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """Type hints, also those written as text. ToolContext may have been imported for type checkers only."""
    target = inspect.unwrap(getattr(function, "__func__", function))
    known = {} if "ToolContext" in target.__globals__ else {"ToolContext": ToolContext}
    try:
        return typing.get_type_hints(target, localns=known, include_extras=True)
    except Exception as error:
        raise ConfigError(
            f"tool {name!r}: its type hints cannot be read: {error}. Import what they name at the top of the "
            f"module, and not under TYPE_CHECKING"
        ) from error


def _hint(parameter: inspect.Parameter, hints: Mapping[str, Any], name: str) -> Any:
    what = f"tool {name!r}: parameter {parameter.name!r}"
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ConfigError(f"{what} takes any number of arguments; write each as a parameter, or one as a list")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ConfigError(f"{what} has no name for who calls; write no `/` behind it")
    if parameter.name not in hints:
        raise ConfigError(f"{what} has no type hint; write `{parameter.name}: str`, or what else it is")
    return hints[parameter.name]


def _check_schema(hint: Any, parameter: inspect.Parameter, name: str) -> None:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        TypeAdapter(hint).json_schema()
    except PydanticUserError as error:
        shown = getattr(hint, "__name__", None) or str(hint)
        raise ConfigError(
            f"tool {name!r}: parameter {parameter.name!r}: {shown} cannot be written in JSON; write str, int, "
            f"float, bool, a list, dict, Literal or Enum, a dataclass, pydantic model or "
            f"typing_extensions.TypedDict of those, or ToolContext alone for the episode's context"
        ) from error


def _field(parameter: inspect.Parameter, about: About) -> Any:
    from pydantic import Field

    default = ... if parameter.default is parameter.empty else parameter.default
    if text := about.parameters.get(parameter.name):
        return Field(default, alias=parameter.name, description=text)
    return Field(default, alias=parameter.name)


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Plain JSON schema: without titles, and with definitions in their place unless they contain themselves."""
    from pydantic.json_schema import GenerateJsonSchema

    class Plain(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  (pydantic's own name)

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    schema = model.model_json_schema(schema_generator=Plain)
    definitions = schema.pop("$defs", {})
    for definition in (schema, *definitions.values()):
        definition.pop("title", None)
    recursive = {name for name in definitions if name in _reached(definitions[name], definitions)}
    inlined: dict[str, Any] = {"properties": {}, **_inline(schema, definitions, recursive)}
    if recursive:
        inlined["$defs"] = {name: _inline(definitions[name], definitions, recursive) for name in sorted(recursive)}
    return inlined


def _reached(schema: Any, definitions: Mapping[str, Any]) -> set[str]:
    """Names of the definitions that a schema refers to, also by way of others."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            name = _reference(part)
            if name is not None and name not in found:
                found.add(name)
                waiting.append(definitions[name])
    return found


def _inline(part: Any, definitions: Mapping[str, Any], recursive: set[str]) -> Any:
    if isinstance(part, list):
        return [_inline(member, definitions, recursive) for member in part]
    if not isinstance(part, dict):
        return part
    name = _reference(part)
    if name is not None and name not in recursive:
        beside = {key: value for key, value in part.items() if key != "$ref"}
        return _inline({**definitions[name], **beside}, definitions, recursive)
    return {key: _inline(value, definitions, recursive) for key, value in part.items()}


def _reference(part: Mapping[str, Any]) -> str | None:
    reference = part.get("$ref")
    return reference.removeprefix(REFS) if isinstance(reference, str) and reference.startswith(REFS) else None
