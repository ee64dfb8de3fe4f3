"""Programs that must pass tests, as in HumanEval (arXiv 2107.03374) and MBPP (arXiv 2108.07732)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agentgym.config import Spec, build
from agentgym.env import Demonstration, StepResult
from agentgym.envs.code_grading import CodeGraders, Score
from agentgym.envs.code_tests import find_tests
from agentgym.envs.tool_turns import ToolTurnsConfig, ToolTurnsEnv
from agentgym.ranges import above
from agentgym.tools.python import strip_fence
from agentgym.types import Message, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services

HOW_TO_ANSWER = """\
When you are sure, give the whole program, with its imports, and end your reply:
<answer>
```python
def double(x):
    return 2 * x
```
</answer>
It will be tested with other inputs than those you see. Do not write anything between <interpreter> tags \
yourself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code(ToolTurnsConfig):
    """A problem, a Python interpreter to try things in, and a program, tested where it cannot reach the tests.

    Fields as in ToolTurnsConfig, and: timeout: seconds a program on the way may run. reward: `all` pays
    reward_right for a program that passes everything and reward_wrong for any other, `fraction` pays between the
    two for the share of cases that hold. grading_timeout: seconds that all cases of a program may take together.
    """

    tasks: Spec = "functions"
    timeout: float = 5.0
    reward: Literal["all", "fraction"] = "all"
    grading_timeout: float = 10.0

    def __post_init__(self) -> None:
        ToolTurnsConfig.__post_init__(self)
        above(self, 0, "timeout", "grading_timeout")

    def make(self, services: Services) -> CodeEnv:
        return CodeEnv(self, services)

    def tool_specs(self) -> list[Spec]:
        return [{"name": "python", "timeout": self.timeout}]

    def protocol_spec(self) -> Spec:
        return "retool"


def last_program(text: str) -> str | None:
    """What stands in the last complete `<answer>`, fenced or not."""
    inside, _, _ = text.rpartition("</answer>")
    _, opened, program = inside.rpartition("<answer>")
    return (strip_fence(program).strip("\n") or None) if opened else None


class CodeEnv(ToolTurnsEnv):
    """One episode. Programs on the way run in the episode's session, the answer elsewhere."""

    config: Code
    goal = (
        "Write the Python program that is asked for. You can run programs while you think, to try out what you "
        "write."
    )
    how_to_answer = HOW_TO_ANSWER

    def read_answer(self, text: str) -> str | None:
        return last_program(text)

    async def start(self, task: Task, rng: random.Random) -> list[Message]:
        find_tests(task)  # a task without tests is refused before anything is played
        return await super().start(task, rng)

    async def finish(self, answer: str | None) -> StepResult:
        score = await self._grade(answer)
        share = score.fraction if self.config.reward == "fraction" else float(score.right)
        reward = self.config.reward_wrong + (self.config.reward_right - self.config.reward_wrong) * share
        info = self.facts(success=score.right, answer=answer, outcome=Outcome.DONE)
        info |= {"cases": score.cases, "cases_passed": score.passed, **score.remarks}
        return StepResult("", reward, True, False, info)

    async def _grade(self, answer: str | None) -> Score:
        assert self.task is not None, "reset() comes first"
        if answer is None:
            return Score(False)
        config = CodeGraders(build("sandbox", self.config.sandbox), self.config.grading_timeout)
        grader = await self.services.get(config)
        return await grader.grade(answer, find_tests(self.task))

    def demonstrate(self, rng: random.Random) -> Demonstration:
        """Runs the reference solution, on the example where there is one, and gives it."""
        assert self.task is not None, "reset() comes first"
        program = find_tests(self.task).reference
        if program is None:
            raise NotImplementedError(f"task {self.task.id!r} has no reference solution")
        return _demonstrate(program, self.task.info.get("example"))


def _demonstrate(program: str, example: str | None) -> Demonstration:
    trial = f"\nprint({example})" if example else ""
    yield f"<code>\n{program}{trial}\n</code>"
    yield f"<answer>\n```python\n{program}\n```\n</answer>"
