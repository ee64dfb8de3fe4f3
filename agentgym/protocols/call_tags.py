"""A tool that is called by a tag: what stands between `<tag>` and `</tag>`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agentgym.protocol import Malformed
from agentgym.protocols.arguments import describe_arguments
from agentgym.protocols.safe_json import BadJson, read_json, write_json
from agentgym.tool import Call, ToolSpec

_PROGRAM = """\
To run a program, write it between tags on lines of their own and stop:
<{tag}>
print(2**64 % 97)
</{tag}>
Its output comes back between <{output}> and </{output}>, and you go on from there. Only printed text is \
shown. Variables stay defined for your later programs. If a program fails you see the error: correct it and run \
it again."""


@dataclass(frozen=True)
class CallTag:
    """A tool's tag. Within it stands the text of the tool's argument, where that is a string and the only one that
    must be given, or else a JSON object of arguments, which serves for optional ones as well.

    One line break after the opening tag and one before the closing tag are no part of the argument.
    """

    tag: str
    spec: ToolSpec

    @cached_property
    def runs_programs(self) -> bool:
        """True for the interpreter, which is told of in words of its own."""
        return self.spec.name == "python" and self.argument is not None

    @cached_property
    def argument(self) -> str | None:
        """The argument whose text may stand within the tag; None where there is no such."""
        required, properties = self.spec.parameters.get("required"), self.spec.parameters.get("properties")
        if not isinstance(required, (list, tuple)) or len(required) != 1 or not isinstance(properties, Mapping):
            return None
        (name,) = required
        about = properties.get(name)
        return name if isinstance(about, Mapping) and about.get("type") == "string" else None

    def read(self, body: str) -> Call | Malformed:
        """The call that a tag with `body` in it stands for."""
        text = body.removeprefix("\n").removesuffix("\n")
        if self.argument is None:
            return self._read_object(text)
        if not text.strip():
            what = "program" if self.runs_programs else self.argument
            return Malformed(f"Error: there is no {what} between the {self.tag} tags.")
        given = _object(text)
        return Call(self.spec.name, given if self.argument in given else {self.argument: text})

    def write(self, arguments: Mapping[str, Any]) -> Iterator[str]:
        """The tag in the forms that could stand for the call, the plainest first. Not all need read the same."""
        match list(arguments.items()):
            case [(self.argument, str(text))]:
                yield f"<{self.tag}>\n{text}\n</{self.tag}>"
        yield f"<{self.tag}>\n{write_json(arguments)}\n</{self.tag}>"

    def how(self, output: str) -> str:
        """Tells the policy how the tool is called."""
        if self.runs_programs:
            return _PROGRAM.format(tag=self.tag, output=output)
        names = list(self.spec.parameters.get("properties", {}))
        fields = ", ".join(f'"{name}": ...' for name in names)
        form = self.argument if self.argument and len(names) == 1 else f"{{{fields}}}"
        told = [f"<{self.tag}>", form, f"</{self.tag}>", self.spec.description, *describe_arguments(self.spec)]
        return "\n".join(line for line in told if line)

    def _read_object(self, text: str) -> Call | Malformed:
        try:
            arguments = read_json(text or "{}")
        except BadJson as error:
            return Malformed(f"Error: what stands between the {self.tag} tags is no JSON: {error}.")
        if not isinstance(arguments, dict):
            return Malformed(f"Error: between the {self.tag} tags must stand a JSON object of arguments.")
        return Call(self.spec.name, arguments)


def _object(text: str) -> dict[str, Any]:
    """The JSON object that `text` is; an empty one where it is none."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        value: dict[str, Any] = read_json(text)
    except BadJson:
        return {}
    return value
