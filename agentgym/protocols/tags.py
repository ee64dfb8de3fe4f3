"""Dialogues in which each tool has a tag of its own, and outputs continue the policy's message within another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from agentgym.errors import ConfigError, did_you_mean
from agentgym.protocol import Malformed, Said
from agentgym.protocols.answers import AnswerForm
from agentgym.protocols.blocks import TEMPLATE_TAGS, Loose, marks_of, read_blocks
from agentgym.protocols.call_tags import CallTag
from agentgym.tool import Call, Result, ToolSpec
from agentgym.types import Observation


@dataclass(frozen=True)
class TagDialogue:
    """A dialogue in tags.

    calls: the tools. output: the tag of outputs. correction: what a policy is told that neither calls nor answers;
    where it is empty such a turn is the last. others: tags that the environment reads itself.
    """

    calls: tuple[CallTag, ...]
    output: str
    answers: AnswerForm
    correction: str = ""
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        taken: dict[str, str] = {}
        owners = [(f"tool {call.spec.name!r}", call.tag) for call in self.calls]
        owners += [("the output of tools", self.output)] + [("the answer", tag) for tag in self.answers.tags]
        owners += [("the environment", tag) for tag in self.others]
        for owner, tag in owners:
            for mark in marks_of([tag]):
                if mark in taken:
                    raise ConfigError(f"{owner} needs {mark}, which is taken by {taken[mark]}")
                taken[mark] = owner

    @cached_property
    def stop(self) -> tuple[str, ...]:
        return tuple(f"</{tag}>" for tag in (*self._call_tags, *self.answers.tags))

    @cached_property
    def tags(self) -> tuple[str, ...]:
        return (*self._call_tags, self.output, *self.answers.tags, *self.others, *TEMPLATE_TAGS)

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return ()

    @cached_property
    def how_to_call(self) -> str:
        told = [call.how(self.output) for call in self.calls if call.runs_programs]
        others = [call.how(self.output) for call in self.calls if not call.runs_programs]
        if others:
            told.append(
                "To call a tool, write its argument, or a JSON object of its arguments, between its tags on lines "
                f"of their own and stop. Its output comes back between <{self.output}> and </{self.output}>, and "
                "you go on from there. The tools:"
            )
        return "\n\n".join(told + others)

    @cached_property
    def how_to_answer(self) -> str:
        return f"{self.answers.how} Do not write anything between <{self.output}> tags yourself."

    def parse(self, action: str) -> Said:
        blocks, loose = read_blocks(action, self._call_tags)
        calls = tuple(self._by_tag[tag].read(body) for tag, body in blocks)
        if not calls and loose is not None and (problem := self._problem(loose)):
            calls = (Malformed(problem),)
        if calls:
            return Said(calls)
        text = "" if loose else action
        if self.correction and self.read_answer(text) is None:
            return Said((Malformed(self.correction),))
        return Said((), text)

    def read_answer(self, text: str) -> str | None:
        return self.answers.read(text)

    def write_calls(self, calls: Sequence[Call]) -> str:
        """Raises ValueError for a call that no text of this protocol stands for."""
        return "\n".join(self._write(call) for call in calls)

    def write_answer(self, answer: str) -> str:
        return self.answers.write(answer)

    def observe(self, results: Sequence[Result | Malformed]) -> Observation:
        outputs = (result.output if isinstance(result, Result) else result.reason for result in results)
        return "".join(f"\n<{self.output}>\n{output}\n</{self.output}>\n" for output in outputs)

    def read(self, observation: Observation) -> list[str]:
        assert isinstance(observation, str), "made by observe()"
        head, tail = f"\n<{self.output}>\n", f"\n</{self.output}>\n"
        return observation.removeprefix(head).removesuffix(tail).split(tail + head) if observation else []

    @cached_property
    def _by_tag(self) -> dict[str, CallTag]:
        return {call.tag: call for call in self.calls}

    @cached_property
    def _call_tags(self) -> tuple[str, ...]:
        return tuple(self._by_tag)

    def _problem(self, loose: Loose) -> str:
        """What is wrong with a tag that has no partner; nothing where the turn broke off before its end."""
        if not loose.opening:
            return f"Error: the closing {loose.tag} tag has no opening one before it."
        if any(stop in loose.rest for stop in self.stop):
            return f"Error: the {loose.tag} tag is not closed before another tag's end."
        return ""

    def _write(self, call: Call) -> str:
        tags = {tag.spec.name: tag for tag in self.calls}
        if call.tool not in tags:
            raise ValueError(f"unknown tool {call.tool!r}: {did_you_mean(call.tool, tags)}")
        for text in tags[call.tool].write(call.arguments):
            if self.parse(text).calls == (replace(call, id=""),):
                return text
        raise ValueError(f"no text of this protocol stands for {call!s:.200}")


def bind_tags(
    specs: Sequence[ToolSpec],
    output: str,
    answers: AnswerForm,
    names: Mapping[str, str] | None = None,
) -> TagDialogue:
    """A dialogue in which each tool's tag is its name, or the one that `names` gives it."""
    calls = tuple(CallTag((names or {}).get(spec.name, spec.name), spec) for spec in specs)
    return TagDialogue(calls, output, answers)
