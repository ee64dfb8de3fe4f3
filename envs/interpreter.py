"""Turns with a Python interpreter in between: what environments that run programs before they answer share."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agentgym.config import Spec
from agentgym.env import Env, StepResult, TaskSource
from agentgym.envs import retool_protocol
from agentgym.envs.output_swap import OFF, SwappedOutputs
from agentgym.envs.retool_protocol import Call, Final, Prompt
from agentgym.envs.tasks.source import task_source
from agentgym.tool import ToolContext
from agentgym.tools.python import Python
from agentgym.types import Message, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterTurns(ABC):
    """tasks, eval_tasks: see `tasks/source.py`. max_turns: programs and the answer, together. timeout: seconds a
    program may run. call_cost: taken off the reward for each program. interpreter: `off` and `swapped` (each
    output replaced by one from another episode) show whether a policy lives by what the interpreter says.
    prompt: `auto` is `plain` where the model was never taught to follow instructions (whoever builds the
    environment for such a model says so), else `instruct`.
    """

    tasks: Spec
    eval_tasks: Spec | None = None
    sandbox: Spec = "auto"
    max_turns: int = 8
    timeout: float = 5.0
    call_cost: float = 0.0
    reward_right: float = 1.0
    reward_wrong: float = 0.0
    interpreter: Literal["on", "off", "swapped"] = "on"
    prompt: Prompt = "auto"

    def __post_init__(self) -> None:
        if self.max_turns < 1:
            raise ValueError(f"max_turns must be at least 1, not {self.max_turns}")
        if self.timeout <= 0:
            raise ValueError(f"timeout must be above 0 seconds, not {self.timeout}")

    @abstractmethod
    def make(self, services: Services) -> InterpreterEnv: ...

    def source(self) -> TaskSource:
        return task_source(self.tasks, self.eval_tasks)


class InterpreterEnv(Env):
    """One episode. The sandbox session is opened by the first program."""

    stop = (retool_protocol.STOP,)
    config: InterpreterTurns
    instructions: ClassVar[str]
    """What the policy is told before the question, where it follows instructions."""
    read_answer: ClassVar[Callable[[str], str | None]]
    """The final answer in a last turn's text."""

    def __init__(self, config: InterpreterTurns, services: Services) -> None:
        super().__init__(config, services)
        self._python: Python | None = None
        self._context: ToolContext | None = None
        self._rng = random.Random()
        self._turns = 0

    @abstractmethod
    async def finish(self, answer: str | None) -> StepResult:
        """Pay for the answer (None: none was given)."""

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        self._rng, self._turns = rng, 0
        self._python = Python(self.config.timeout)
        self._context = ToolContext(self.services, sandbox_config=self.config.sandbox)
        return retool_protocol.opening(task, self.config.prompt, self.instructions)

    async def act(self, action: str) -> StepResult:
        self._turns += 1
        said = retool_protocol.parse(action, type(self).read_answer)
        if isinstance(said, Final):
            return await self.finish(said.answer)
        if self._turns >= self.config.max_turns:
            info = self.facts(success=False, answer=None, outcome=Outcome.MAX_TURNS)
            return StepResult("", self.config.reward_wrong, False, True, info)
        if isinstance(said, Call):
            output, reward = await self._run(said.code), 0.0 - self.config.call_cost  # never -0.0
        else:
            output, reward = said.reason, 0.0
        return StepResult(retool_protocol.render(output), reward, False, False, self.facts())

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        """The interpreter itself forks: no program runs twice."""
        assert isinstance(twin, InterpreterEnv)
        assert self._context is not None, "reset() comes first"
        twin._turns = self._turns
        if seed is None:
            twin._rng.setstate(self._rng.getstate())
        else:
            twin._rng = random.Random(seed)
        twin._python, twin._context = self._python, await self._context.fork(seed, "")

    async def release(self) -> None:
        if self._context is not None:
            await self._context.close()
            self._python = self._context = None

    def unfinished_reward(self) -> float:
        return self.config.reward_wrong

    def facts(self, **more: Any) -> dict[str, Any]:
        """A step's info. tool_calls: programs run, counted by the sandbox."""
        session = self._context._session if self._context else None
        return {"tool_calls": session.calls if session else 0, **more}

    async def _run(self, code: str) -> str:
        assert self._python is not None, "reset() comes first"
        assert self._context is not None, "reset() comes first"
        if self.config.interpreter == "off":
            return OFF
        output = await self._python(code, self._context)
        if self.config.interpreter == "on":
            return output
        assert self.task is not None
        others = await self.services.get(SwappedOutputs())
        return others.swap((self.state_key(), code), self.task.id, output, self._rng)
