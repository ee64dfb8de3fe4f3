"""The environment for programs that must pass tests, in the real sandbox."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agentgym.config import build
from agentgym.env import Env
from agentgym.envs.code_grading import CodeGraders
from agentgym.envs.code_tests import call_tests
from agentgym.errors import SandboxError, TaskError
from agentgym.sandboxes.auto import Auto
from agentgym.services import Services
from agentgym.types import Task

from .printed import printed

RIGHT = "def double(x):\n    return 2 * x"
ASSERTS = "assert double(2) == 4\nassert double(-7) == -14\nassert double('a') == 'aa'\nassert double(0) == 0"
TASK = Task("t", "Write double(x).", RIGHT, {"tests": call_tests(ASSERTS, RIGHT), "example": "double(2)"})


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def services() -> AsyncIterator[Services]:
    async with Services() as services:
        yield services


def answer(program: str) -> str:
    return f"I am sure.\n<answer>\n```python\n{program}\n```\n</answer>"


async def begin(services: Services, task: Task = TASK, **fields: Any) -> Env:
    env: Env = build("env", {"name": "code", **fields}).make(services)
    await env.reset(seed=0, options={"task": task})
    return env


async def test_an_episode(services: Services) -> None:
    env = await begin(services)
    result = await env.step(f"<code>\n{RIGHT}\nprint(double(21))\n</code>")
    assert result == ("\n<interpreter>\n42\n</interpreter>\n", 0.0, False, False, {"tool_calls": 1})
    result = await env.step(answer(RIGHT))
    assert (result.reward, result.terminated, result.truncated) == (1.0, True, False)
    facts = {"tool_calls": 1, "success": True, "answer": RIGHT, "outcome": "done", "cases": 4, "cases_passed": 4}
    assert result.info == facts
    await env.close()


async def test_a_program_of_an_earlier_turn_is_not_part_of_the_answer(services: Services) -> None:
    env = await begin(services)
    await env.step(f"<code>\n{RIGHT}\n</code>")
    result = await env.step(answer("print(double(2))"))
    assert (result.reward, result.info["success"]) == (0.0, False)
    assert "NameError" in result.info["grader_note"]


@pytest.mark.parametrize(("reward", "paid"), [("all", -1.0), ("fraction", 0.5)])
async def test_what_a_program_that_passes_three_cases_of_four_is_paid(
    services: Services, reward: str, paid: float
) -> None:
    env = await begin(services, reward=reward, reward_wrong=-1.0)
    result = await env.step(answer("def double(x):\n    return 2 * abs(x) if x != 'a' else 'aa'"))
    assert (result.reward, result.info["cases_passed"], result.info["success"]) == (paid, 3, False)


@pytest.mark.parametrize("reward", ["all", "fraction"])
async def test_an_episode_without_an_answer_is_wrong(services: Services, reward: str) -> None:
    env = await begin(services, reward=reward, reward_wrong=-1.0)
    result = await env.step("I do not know.")
    assert (result.reward, result.info["success"], result.info["answer"]) == (-1.0, False, None)
    env = await begin(services, max_turns=1, reward_wrong=-1.0)
    assert (await env.step("<code>\n1\n</code>")).reward == -1.0


async def test_an_answer_that_does_not_end_is_wrong(services: Services) -> None:
    env = await begin(services, grading_timeout=0.5)
    result = await env.step(answer("def double(x):\n    while True: pass"))
    assert result.reward == 0.0
    assert result.info["grader_note"] == "the program ended with timeout"


async def test_the_policys_session_does_not_know_the_tests(services: Services) -> None:
    env = await begin(services)
    await env.step("<code>\nimport gc\n</code>")
    seen = await env.step("<code>\nprint([x for x in gc.get_objects() if '-' + '14' in str(x)[:10**5]])\n</code>")
    assert "double" not in printed(str(seen.observation))


async def test_a_failing_sandbox_is_an_error_not_a_reward() -> None:
    async with Services() as services:
        env = await begin(services)
        await (await services.get(CodeGraders(Auto()))).close()
        with pytest.raises(SandboxError):
            await env.step(answer(RIGHT))


async def test_demonstrations_solve_the_generated_tasks(services: Services) -> None:
    config = build("env", {"name": "code", "tasks": {"name": "functions", "steps": 3}})
    env = config.make(services)
    for task in config.source().draw(20, random.Random(0)):
        await env.reset(seed=0, options={"task": task})
        script = env.demonstrate(random.Random(0))
        shown = await env.step(next(script))
        assert task.prompt.endswith(f" is {printed(str(shown.observation))}."), "the example is what it does"
        result = await env.step(script.send(shown.observation))
        assert result.reward == 1.0
    await env.close()


async def test_prompts(services: Services) -> None:
    env = build("env", {"name": "code", "prompt": "instruct"}).make(services)
    (system, question), _ = await env.reset(seed=0, options={"task": TASK})
    assert question == {"role": "user", "content": "Write double(x)."}
    for word in ("<code>", "<interpreter>", "<answer>", "```python"):
        assert word in system["content"]
    assert "boxed" not in system["content"]


async def test_a_task_without_tests_is_refused(services: Services) -> None:
    with pytest.raises(TaskError, match=r"task 'x' has no tests.*test_list \(MBPP\).*it has hint"):
        await begin(services, Task("x", "?", "1", {"hint": 1}))
