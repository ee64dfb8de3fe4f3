"""Turns with tool calls in between: what environments share in which the policy calls tools before it answers."""

from __future__ import annotations

import json
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agentgym.config import Spec, build
from agentgym.env import Env, StepResult, TaskSource
from agentgym.envs.output_swap import OFF, SwappedOutputs
from agentgym.envs.tasks.source import task_source
from agentgym.protocol import ActionProtocol, Dialogue, Malformed, Prompt, Said, opening
from agentgym.ranges import at_least
from agentgym.tool import MAX_TOKENS, Budget, Call, Result, ToolContext, Toolset, ToolSpec
from agentgym.tooling import load
from agentgym.types import Message, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services
    from agentgym.tooling.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTurnsConfig(ABC):
    """tasks, eval_tasks: see `tasks/source.py`. sandbox: where the policy's programs run. max_turns: turns with
    calls and the answer, together. call_cost: taken off the reward for each call. budget: what an episode's calls
    may cost together, by the tools' own `cost`. reward_right, reward_wrong: paid at the end, for a right answer
    and for a wrong one or none. tool_output: `off` and `swapped` (each output replaced by the same tool's in
    another episode) show whether a policy lives by what the tools say. prompt: `auto` is `plain` where the model
    was never taught to follow instructions (whoever builds the environment for such a model says so), else
    `instruct`.
    """

    runs_programs: ClassVar[bool] = True
    """Whether every episode is likely to want a sandbox, which is then opened before the first."""

    tasks: Spec
    eval_tasks: Spec | None = None
    sandbox: Spec = "auto"
    max_turns: int = 8
    call_cost: float = 0.0
    budget: float | None = None
    reward_right: float = 1.0
    reward_wrong: float = 0.0
    tool_output: Literal["on", "off", "swapped"] = "on"
    prompt: Prompt = "auto"

    def __post_init__(self) -> None:
        at_least(self, 1, "max_turns")

    @abstractmethod
    def make(self, services: Services) -> ToolTurnsEnv: ...

    @abstractmethod
    def tool_specs(self) -> str | list[Spec]:
        """The tools, as `tools=` takes them."""

    @abstractmethod
    def protocol_spec(self) -> Spec:
        """How the policy calls them."""

    def parts(self) -> tuple[list[Toolset], ActionProtocol]:
        """Both, loaded once for all episodes. Raises ConfigError."""
        return _parts(json.dumps([self.tool_specs(), self.protocol_spec()]))

    def shows(self) -> set[str]:
        """Roles of the messages that follow an action; none where outputs continue the assistant's own."""
        protocol: ActionProtocol = build("protocol", self.protocol_spec())
        observation = protocol.bind(()).observe([Malformed("")])
        return set() if isinstance(observation, str) else {message["role"] for message in observation}

    def source(self) -> TaskSource:
        return task_source(self.tasks, self.eval_tasks)


class ToolTurnsEnv(Env):
    """One episode. What its tools hold is opened by the first call that needs it."""

    config: ToolTurnsConfig
    goal: ClassVar[str] = "Solve the problem. You can call tools while you think."
    """What a policy that follows instructions is told first."""
    how_to_answer: ClassVar[str] = ""
    """How it is to answer, where that is not for the protocol to say."""

    def __init__(self, config: ToolTurnsConfig, services: Services) -> None:
        super().__init__(config, services)
        self._box: Toolbox | None = None
        self._turns = self._malformed = 0

    @abstractmethod
    async def finish(self, answer: str | None) -> StepResult:
        """Pay for the answer (None: none was given)."""

    def toolsets(self, task: Task) -> Sequence[Toolset]:
        """The tools of an episode."""
        return self.config.parts()[0]

    def read(self, action: str) -> Said:
        """What a turn asks for."""
        return self.dialogue.parse(action)

    def read_answer(self, text: str) -> str | None:
        """The answer in the text of a turn without calls."""
        return self.dialogue.read_answer(text)

    @property
    def box(self) -> Toolbox:
        """The episode's tools."""
        assert self._box is not None, "reset() comes first"
        return self._box

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        from agentgym.tooling.toolbox import Toolbox  # it brings asyncio, which a dry run does without

        self._turns = self._malformed = 0
        config = self.config
        context = ToolContext(self.services, rng, config.sandbox, Budget(config.budget), secrets.token_hex(8))
        _, protocol = config.parts()
        self._box = await Toolbox.open(self.toolsets(task), context)
        self._speak(_bind(protocol, tuple(self._box.specs)))
        messages = opening(task.prompt, config.prompt, self.instructions())
        if config.prompt != "plain" and self.dialogue.specs:
            messages[0] = {**messages[0], "tools": [spec.function() for spec in self.dialogue.specs]}
        return messages

    def instructions(self) -> str:
        """What a policy that follows instructions is told before the question."""
        parts = (self.goal, self.dialogue.how_to_call, self.how_to_answer or self.dialogue.how_to_answer)
        return "\n\n".join(part for part in parts if part)

    async def act(self, action: str) -> StepResult:
        self._turns += 1
        said = self.read(action)
        if not said.calls:
            return await self.finish(self.read_answer(said.text))
        if self._turns >= self.config.max_turns:
            info = self.facts(success=False, answer=None, outcome=Outcome.MAX_TURNS)
            return StepResult("", self.config.reward_wrong, False, True, info)
        calls = [call for call in said.calls if isinstance(call, Call)]
        self._malformed += len(said.calls) - len(calls)
        results = iter(await self._results(calls))
        shown = [next(results) if isinstance(call, Call) else self._told(call) for call in said.calls]
        reward = 0.0 - self.config.call_cost * len(calls)  # never -0.0
        return StepResult(self.dialogue.observe(shown), reward, False, False, self.facts())

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        """The tools themselves fork: no call is made twice."""
        assert isinstance(twin, ToolTurnsEnv)
        twin._turns, twin._malformed = self._turns, self._malformed
        twin._speak(self.dialogue)
        twin._box = await self.box.fork(seed, secrets.token_hex(8))

    async def release(self) -> None:
        if self._box is not None:
            await self._box.close()
            self._box = None

    def unfinished_reward(self) -> float:
        return self.config.reward_wrong

    def facts(self, **more: Any) -> dict[str, Any]:
        """A step's info. tool_calls: calls carried out, as counted by the toolbox. malformed_calls: what was meant
        as a call and was none, and calls of tools that do not exist; left out while there are none, like
        tool_cost."""
        box = self.box
        counts = {"malformed_calls": self._malformed + box.refused, "tool_cost": box.context.budget.spent}
        return {"tool_calls": box.calls, **{name: value for name, value in counts.items() if value}, **more}

    def _speak(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.stop = dialogue.stop

    async def _results(self, calls: Sequence[Call]) -> list[Result]:
        """What the policy is shown of its calls."""
        if self.config.tool_output == "off":
            return [Result(call, OFF) for call in calls]
        results = await self.box.run(calls)
        if self.config.tool_output == "swapped":
            results = [await self._swapped(result) for result in results]
        return [self._shown(result) for result in results]

    def _shown(self, result: Result) -> Result:
        safe = self._safe(result.output, result.max_tokens)
        return result if safe == result.output else replace(result, output=safe)

    def _safe(self, output: str, max_tokens: int) -> str:
        """Data, whatever it looks like, and not too long."""
        return self.services.vocabulary.as_data(output, self.dialogue.tags, max_tokens)

    def _told(self, malformed: Malformed) -> Malformed:
        return Malformed(self._safe(malformed.reason, MAX_TOKENS))

    async def _swapped(self, result: Result) -> Result:
        assert self.task is not None
        call = result.call
        pool = await self.services.get(SwappedOutputs(call.tool))
        state = (self.state_key(), repr(sorted(call.arguments.items())))
        return replace(result, output=pool.swap(state, self.task.id, result.output, self.box.context.rng))


@lru_cache(maxsize=256)
def _bind(protocol: ActionProtocol, specs: tuple[ToolSpec, ...]) -> Dialogue:
    """The same dialogue for all episodes with the same tools."""
    return protocol.bind(specs)


@cache
def _parts(specs: str) -> tuple[list[Toolset], ActionProtocol]:
    tools, protocol = json.loads(specs)
    return load.toolsets(tools), build("protocol", protocol)
