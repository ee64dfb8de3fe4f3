"""The environment for programs that must pass tests, in the real sandbox."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import Env, StepResult
from agentgym.envs.code import last_program
from agentgym.envs.code_tests import call_tests
from agentgym.envs.retool_protocol import read
from agentgym.errors import ConfigError, SandboxError, TaskError
from agentgym.services import Services
from agentgym.types import Task

RIGHT = "def double(x):\n    return 2 * x"
ASSERTS = "assert double(2) == 4\nassert double(-7) == -14\nassert double('a') == 'aa'\nassert double(0) == 0"
TASK = Task("t", "Write double(x).", RIGHT, {"tests": call_tests(ASSERTS, RIGHT), "example": "double(2)"})


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    async with Services() as services:
        yield services


def answer(program: str) -> str:
    return f"I am sure.\n<answer>\n```python\n{program}\n```\n</answer>"


async def begin(services: Services, task: Task = TASK, **fields: Any) -> Env:
    env: Env = build("env", {"name": "code", **fields}).make(services)
    await env.reset(seed=0, options={"task": task})
    return env


async def demonstrate(env: Env) -> StepResult:
    script = env.demonstrate(random.Random(0))
    result = await env.step(next(script))
    while not result.terminated:
        result = await env.step(script.send(result.observation))
    return result


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (answer(RIGHT), RIGHT),
        (f"<answer>{RIGHT}</answer>", RIGHT),
        (answer("x = 1") + answer(RIGHT), RIGHT),
        (f"```python\n{RIGHT}\n```", None),
        (f"<answer>\n{RIGHT}", None),
        ("<answer></answer>", None),
        ("</answer>", None),
        ("", None),
    ],
)
def test_the_answer_is_what_the_last_answer_tags_hold(text: str, program: str | None) -> None:
    assert last_program(text) == program


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
    assert "double" not in read(str(seen.observation))


async def test_a_failing_sandbox_is_an_error_not_a_reward(services: Services) -> None:
    env = await begin(services)
    await env.step(answer(RIGHT))
    await env.reset(seed=0, options={"task": TASK})
    (grading,) = [config for config in services._open if type(config).__name__ == "CodeGraders"]
    await (await services.get(grading)).close()
    with pytest.raises(SandboxError):
        await env.step(answer(RIGHT))


async def test_demonstrations_solve_the_generated_tasks(services: Services) -> None:
    config = build("env", {"name": "code", "tasks": {"name": "functions", "steps": 3}})
    env = config.make(services)
    for task in config.source().draw(20, random.Random(0)):
        await env.reset(seed=0, options={"task": task})
        script = env.demonstrate(random.Random(0))
        shown = await env.step(next(script))
        assert task.prompt.endswith(f" is {read(str(shown.observation))}."), "the example is what it does"
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


HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "from typing import Any\n\ndef twice(x):\n    return 2 * x\n\ndef four(xs: Any):\n    'Four.'\n",
    "canonical_solution": "    return [twice(twice(x)) for x in xs]\n",
    "entry_point": "four",
    "test": "def check(candidate):\n    xs = [1, 2]\n    assert candidate(xs) == [twice(2 * x) for x in xs]\n",
}
MBPP = {
    "task_id": 601,
    "text": "Write a function to find the longest chain.",
    "code": "class Pair:\n    def __init__(self, a, b=1): self.a = a\ndef chain(arr, n):\n    return arr[n].a",
    "test_list": ["assert chain([Pair(5, 24)], 0) == 5", "assert chain([Pair(1), p], 1) == 2"],
    "test_setup_code": "p = Pair(2)",
    "challenge_test_list": [],
}
ADD = "print(sum(map(int, input().split())))"
CONTEST = {
    "description": "Add.",
    "public_tests": {"input": ["1 2"], "output": ["3"]},
    "private_tests": {"input": ["3 4"], "output": ["7"]},
    "solution": ADD,
}
PLAIN = {
    "HumanEval": {
        "question": HUMANEVAL["prompt"],
        "answer": HUMANEVAL["canonical_solution"],
        "entry_point": "four",
        "test": HUMANEVAL["test"],
    },
    "MBPP": {
        "question": MBPP["text"],
        "answer": MBPP["code"],
        **{k: MBPP[k] for k in ("test_list", "test_setup_code")},
    },
    "streams": {"question": "Add.", "answer": {"inputs": ["1 2"], "outputs": ["3"]}, "solution": ADD},
}


@pytest.mark.parametrize("row", [HUMANEVAL, MBPP, CONTEST, *PLAIN.values()])
async def test_rows_of_known_sets_are_solved_by_their_solutions(
    services: Services, tmp_path: Path, row: dict[str, Any]
) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"id": "one", **row}) + "\n", encoding="utf-8")
    config = build("env", {"name": "code", "tasks": str(path)})
    (task,) = config.source().draw(None, random.Random(0), "all")
    env = await begin(services, task)
    assert (await demonstrate(env)).reward == 1.0
    await env.reset(seed=0, options={"task": task})
    assert (await env.step(answer("def four(xs): return xs\ndef chain(arr, n): return 5\nprint(7)"))).reward == 0.0


def test_official_rows_get_their_ids_and_names(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (HUMANEVAL, MBPP)), encoding="utf-8")
    tasks = build("tasks", {"name": "file", "path": str(path)}).draw(None, random.Random(0), "all")
    assert [task.id for task in tasks] == ["HumanEval/0", "601"]
    assert "chain(arr, n)" in str(tasks[1].prompt)
    assert "Pair(a, b=1)" in str(tasks[1].prompt)
    assert "24" not in str(tasks[1].prompt)


def test_tests_that_are_not_python_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({**MBPP, "test_list": ["assert ("]}) + "\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"set\.jsonl:1: the tests or the solution are not Python"):
        build("tasks", {"name": "file", "path": str(path)}).draw(None, random.Random(0), "all")


@pytest.mark.parametrize("field", [{"grading_timeout": 0}, {"reward": "some"}, {"max_turns": 0}])
def test_wrong_settings_are_refused_by_name(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        build("env", {"name": "code", **field})
