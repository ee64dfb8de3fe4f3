"""Any tools, any questions with an answer, any action protocol; with python and search, ARPO's setting (arXiv
2507.19849)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agentgym.config import Spec
from agentgym.env import Demonstration
from agentgym.envs import retool_demos
from agentgym.envs.answered import AnsweredConfig, AnsweredEnv
from agentgym.errors import TaskError, did_you_mean
from agentgym.tool import Call
from agentgym.types import Observation

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAgent(AnsweredConfig):
    """A question, tools, one checked answer.

    Fields as in AnsweredConfig, and: tools: names, `path/to/file.py:name`, `package.module:name`, `mcp:...`, or
    tables with a name, limits and the tool's own fields; as text, separated by commas. protocol: how the policy
    calls them. Tasks whose `info.calls` holds the right calls ({"name": ..., "arguments": {...}}) can be
    demonstrated.
    """

    runs_programs: ClassVar[bool] = False

    tools: str | list[Spec] = "python"
    protocol: Spec = "hermes"
    tasks: Spec = "arith"

    def __post_init__(self) -> None:
        AnsweredConfig.__post_init__(self)
        self.parts()  # a wrong name is wrong before anything is played

    def make(self, services: Services) -> ToolAgentEnv:
        return ToolAgentEnv(self, services)

    def tool_specs(self) -> str | list[Spec]:
        return self.tools

    def protocol_spec(self) -> Spec:
        return self.protocol


class ToolAgentEnv(AnsweredEnv):
    """One episode."""

    config: ToolAgent

    def demonstrate(self, rng: random.Random) -> Demonstration:
        """Makes the calls of `info.calls`, one a turn, and answers with what the last one said. Without any, a
        program finds the answer, where there is an interpreter."""
        assert self.task is not None, "reset() comes first"
        calls = self.task.info.get("calls")
        if not calls and "python" in (spec.name for spec in self.box.specs):
            return retool_demos.demonstrate(self.task, self.dialogue, rng, 0.0, self.config.demo_direct_rate)
        if not calls:
            raise NotImplementedError(
                f"task {self.task.id!r} has no info.calls, which would show how it is solved"
            )
        direct = rng.random() < self.config.demo_direct_rate
        tools = [spec.name for spec in self.box.specs]
        wanted = [_call(call, self.task.id, tools) for call in calls]
        return self._demonstrate([] if direct else wanted, self.task.answer)

    def _demonstrate(self, calls: list[Call], answer: str) -> Demonstration:
        said = answer
        for call in calls:
            observation: Observation = yield self.dialogue.write_calls([call])
            said = self.dialogue.read(observation)[-1]
        yield self.dialogue.write_answer(answer if answer in said else said)


def _call(call: Any, task: str, tools: Sequence[str]) -> Call:
    name, arguments = (call.get("name"), call.get("arguments", {})) if isinstance(call, Mapping) else (None, None)
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise TaskError(f"task {task!r}: info.calls holds {call!r}; a call is a name and a table of arguments")
    if name not in tools:
        raise TaskError(f"task {task!r}: info.calls names {name!r}: {did_you_mean(name, tools)}")
    return Call(name, dict(arguments))
