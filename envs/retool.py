r"""ReTool (arXiv 2504.11536): reason, run Python in between, answer in `\boxed{}`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agentgym.config import Spec, build
from agentgym.env import Demonstration, Env, StepResult, TaskSource
from agentgym.envs import retool_demos, retool_protocol
from agentgym.envs.grading import Checker, grade
from agentgym.envs.output_swap import OFF, SwappedOutputs
from agentgym.envs.retool_protocol import Call, Final, Prompt
from agentgym.envs.tasks.source import task_source
from agentgym.tools.python import Python
from agentgym.types import Message, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services

Interpreter = Literal["on", "off", "swapped"]


@dataclass(frozen=True, slots=True)
class Retool:
    """A question, a Python interpreter that lives as long as the episode, one checked answer.

    tasks, eval_tasks: see `tasks/source.py`. max_turns: programs and the answer, together. timeout: seconds a
    program may run. call_cost: taken off the reward for each program. interpreter: `off` and `swapped` (each
    output replaced by one from another episode) show whether a policy lives by what the interpreter says.
    demo_error_rate: share of demonstrations that first make a mistake and correct it. demo_direct_rate: share
    that answers a generated task at once, as one who knows it would: a policy that copies them guesses, and
    must find out for itself when the interpreter pays. prompt: `auto` is
    `plain` where the model was never taught to follow instructions (whoever builds the environment for such
    a model says so), else `instruct`.
    """

    tasks: Spec = "arith"
    eval_tasks: Spec | None = None
    sandbox: Spec = "local"
    max_turns: int = 8
    timeout: float = 5.0
    call_cost: float = 0.0
    reward_right: float = 1.0
    reward_wrong: float = 0.0
    interpreter: Interpreter = "on"
    checker: Checker = "auto"
    prompt: Prompt = "auto"
    demo_error_rate: float = 0.1
    demo_direct_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.max_turns < 1:
            raise ValueError(f"max_turns must be at least 1, not {self.max_turns}")
        if self.timeout <= 0:
            raise ValueError(f"timeout must be above 0 seconds, not {self.timeout}")
        for name in ("demo_error_rate", "demo_direct_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")

    def make(self, services: Services) -> RetoolEnv:
        return RetoolEnv(self, services)

    def source(self) -> TaskSource:
        return task_source(self.tasks, self.eval_tasks)


class RetoolEnv(Env):
    """One episode. The sandbox session is opened by the first program."""

    stop = (retool_protocol.STOP,)
    config: Retool

    def __init__(self, config: Retool, services: Services) -> None:
        super().__init__(config, services)
        self._python: Python | None = None
        self._rng = random.Random()
        self._turns = 0

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        self._rng, self._turns = rng, 0
        self._python = Python(self.services, build("sandbox", self.config.sandbox), self.config.timeout)
        return retool_protocol.opening(task, self.config.prompt)

    async def act(self, action: str) -> StepResult:
        self._turns += 1
        said = retool_protocol.parse(action)
        if isinstance(said, Final):
            return await self._finish(said)
        if self._turns >= self.config.max_turns:
            info = self._info(success=False, answer=None, outcome=Outcome.MAX_TURNS)
            return StepResult("", self.config.reward_wrong, False, True, info)
        if isinstance(said, Call):
            output, reward = await self._run(said.code), 0.0 - self.config.call_cost  # never -0.0
        else:
            output, reward = said.reason, 0.0
        return StepResult(retool_protocol.render(output), reward, False, False, self._info())

    async def release(self) -> None:
        if self._python is not None:
            await self._python.close()
            self._python = None

    def unfinished_reward(self) -> float:
        return self.config.reward_wrong

    def demonstrate(self, rng: random.Random) -> Demonstration:
        assert self.task is not None, "reset() comes first"
        config = self.config
        return retool_demos.demonstrate(self.task, rng, config.demo_error_rate, config.demo_direct_rate)

    async def _run(self, code: str) -> str:
        assert self._python is not None, "reset() comes first"
        if self.config.interpreter == "off":
            return OFF
        output = await self._python(code)
        if self.config.interpreter == "on":
            return output
        assert self.task is not None
        others = await self.services.get(SwappedOutputs())
        return others.swap((self.state_key(), code), self.task.id, output, self._rng)

    async def _finish(self, said: Final) -> StepResult:
        assert self.task is not None
        verdict = await grade(self.task, said.answer, self.config.checker, self.services)
        reward = self.config.reward_right if verdict.right else self.config.reward_wrong
        info = self._info(success=verdict.right, answer=said.answer, outcome=Outcome.DONE)
        if verdict.timed_out:
            info["grader_timeout"] = True
        if verdict.note:
            info["grader_note"] = verdict.note
        return StepResult("", reward, True, False, info)

    def _info(self, **more: Any) -> dict[str, Any]:
        """tool_calls: programs run, counted by the sandbox."""
        return {"tool_calls": self._python.calls if self._python else 0, **more}
