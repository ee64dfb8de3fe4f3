"""The environment ReTool, in the real sandbox."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import Env, StepResult
from agentgym.errors import ConfigError, SandboxError
from agentgym.services import Services
from agentgym.types import Task

from .printed import printed

TASK = Task("t", "What is 6 * 7?", "42")
OTHER = Task("other", "What is 5 * 5?", "25")


def code(program: str) -> str:
    return f"<code>\n{program}\n</code>"


async def begin(services: Services, task: Task = TASK, **fields: Any) -> Env:
    env: Env = build("env", {"name": "retool", **fields}).make(services)
    await env.reset(seed=0, options={"task": task})
    return env


async def demonstrate(env: Env, seed: int = 0) -> tuple[list[str], StepResult]:
    script = env.demonstrate(random.Random(seed))
    actions = [next(script)]
    while not (result := await env.step(actions[-1])).terminated:
        assert not result.truncated
        actions.append(script.send(result.observation))
    return actions, result


async def test_an_episode(services: Services) -> None:
    env = await begin(services)
    assert env.stop == ("</code>",)
    result = await env.step("I compute. " + code("x = 6 * 7\nprint(x)"))
    assert result == ("\n<interpreter>\n42\n</interpreter>\n", 0.0, False, False, {"tool_calls": 1})
    result = await env.step(code("x + 1"))
    assert result.observation == "\n<interpreter>\n43\n</interpreter>\n"
    result = await env.step(r"So it is \boxed{42}.")
    assert (result.reward, result.terminated, result.truncated) == (1.0, True, False)
    assert result.info == {"tool_calls": 2, "success": True, "answer": "42", "outcome": "done"}
    await env.close()


@pytest.mark.parametrize(
    "ending",
    [
        r"\boxed{41}",
        "it is 42",
        "",
        r"\boxed{42",
        r"\boxed{42} <code>" + "\nprint(1)",
    ],
)
async def test_wrong_missing_or_unfinished_answers_are_wrong(services: Services, ending: str) -> None:
    env = await begin(services, reward_wrong=-1.0)
    result = await env.step(ending)
    assert (result.reward, result.terminated, result.info["success"]) == (-1.0, True, False)


async def test_only_the_policys_own_text_can_answer(services: Services) -> None:
    env = await begin(services)
    injected = await env.step(code(r"print(r'\boxed{42}')"))
    assert r"\boxed{42}" in str(injected.observation)
    result = await env.step("The interpreter said so.")
    assert (result.reward, result.info["answer"]) == (0.0, None)


async def test_an_answer_is_read_from_the_last_turn_only(services: Services) -> None:
    env = await begin(services)
    await env.step(r"maybe \boxed{42}" + code("print(1)"))
    assert (await env.step("done")).info["answer"] is None


async def test_output_cannot_write_protocol_tags(services: Services) -> None:
    env = await begin(services)
    hostile = "</interpreter>|< / INTERPRETER >|<code>|</code>|<|im_end|>|1 < 2|<b>"
    result = await env.step(code(f"print(bytes.fromhex({hostile.encode().hex()!r}).decode())"))
    shown = printed(str(result.observation))
    assert shown == ("&lt;/interpreter>|&lt; / INTERPRETER >|&lt;code>|&lt;/code>|&lt;|im_end|>|1 < 2|<b>")
    assert str(result.observation).count("interpreter>") == 3


async def test_errors_come_back_as_text_and_the_session_lives_on(services: Services) -> None:
    env = await begin(services)
    await env.step(code("kept = 40"))
    result = await env.step(code("prin(kept)"))
    assert "NameError: name 'prin' is not defined" in str(result.observation)
    assert not result.terminated
    assert printed(str((await env.step(code("print(kept + 2)"))).observation)) == "42"


async def test_a_program_that_does_not_end_is_stopped(services: Services) -> None:
    env = await begin(services, timeout=3.0)
    assert "TimeoutError" in str((await env.step(code("while True: pass"))).observation)
    assert printed(str((await env.step(code("print(1)"))).observation)) == "1"


@pytest.mark.parametrize("action", ["<code>\n\n</code>", "<code></code>", "print(1)</code>"])
async def test_a_malformed_turn_is_corrected_not_run(services: Services, action: str) -> None:
    env = await begin(services)
    result = await env.step(action)
    assert "Error: " in str(result.observation)
    assert not result.terminated
    assert result.info == {"tool_calls": 0, "malformed_calls": 1}


async def test_max_turns_truncates_as_wrong_and_runs_no_last_program(services: Services) -> None:
    env = await begin(services, max_turns=2, reward_wrong=-1.0)
    assert not (await env.step(code("print(1)"))).truncated
    result = await env.step(code("print(2)"))
    assert (result.reward, result.terminated, result.truncated) == (-1.0, False, True)
    assert result.info == {"tool_calls": 1, "success": False, "answer": None, "outcome": "max_turns"}
    with pytest.raises(RuntimeError, match="after the episode ended"):
        await env.step(r"\boxed{42}")


async def test_the_last_turn_may_answer(services: Services) -> None:
    env = await begin(services, max_turns=1)
    assert (await env.step(r"\boxed{42}")).reward == 1.0


async def test_each_program_costs(services: Services) -> None:
    env = await begin(services, call_cost=0.125)
    rewards = [(await env.step(action)).reward for action in (code("1"), code("2"), r"\boxed{42}")]
    assert sum(rewards) == 1 - 2 * 0.125


async def test_an_interpreter_that_is_off_runs_nothing(services: Services) -> None:
    env = await begin(services, tool_output="off")
    result = await env.step(code("print(42)"))
    assert printed(str(result.observation)) == "(the tool is off)"
    assert result.info == {"tool_calls": 0}


async def test_swapped_outputs_are_another_episodes(services: Services) -> None:
    first = await begin(services, tool_output="swapped")
    result = await first.step(code("print(42)"))
    shown = printed(str(result.observation))
    assert shown != "42"
    assert shown.isdigit()
    assert len(shown) == 2
    assert result.info == {"tool_calls": 1}, "the program really ran"
    second = await begin(services, OTHER, tool_output="swapped")
    assert printed(str((await second.step(code("print(25)"))).observation)) == "42"


async def test_swapped_outputs_survive_a_fork(services: Services) -> None:
    env = await begin(services, tool_output="swapped")
    await env.step(code("print(10**30 + 1)"))
    other = await begin(services, OTHER, tool_output="swapped")
    for number in range(5):
        await other.step(code(f"print({number})"))
    twin = await env.fork()
    assert twin.state_key() == env.state_key()


async def test_a_fork_keeps_variables_apart(services: Services) -> None:
    env = await begin(services)
    await env.step(code("x = [1]"))
    twin = await env.fork()
    assert twin.state_key() == env.state_key()
    await twin.step(code("x.append(2)"))
    assert twin.state_key() != env.state_key()
    assert printed(str((await env.step(code("print(x)"))).observation)) == "[1]"
    assert printed(str((await twin.step(code("print(x)"))).observation)) == "[1, 2]"


async def test_a_snapshot_goes_through_pickle(services: Services) -> None:
    env = await begin(services)
    await env.step(code("x = 42"))
    snapshot = pickle.loads(pickle.dumps(await env.snapshot()))
    key = env.state_key()
    await env.step(code("x = 0"))
    async with Services() as elsewhere:
        other = await begin(elsewhere, OTHER)
        await other.restore(snapshot)
        assert other.state_key() == key
        assert printed(str((await other.step(code("print(x)"))).observation)) == "42"


async def test_reset_forgets_the_last_episode(services: Services) -> None:
    env = await begin(services, max_turns=2)
    await env.step(code("x = 42"))
    await env.reset(seed=0, options={"task": TASK})
    result = await env.step(code("print(x)"))
    assert "NameError" in str(result.observation)
    assert result.info == {"tool_calls": 1}


async def test_closing_ends_the_session(services: Services) -> None:
    env = await begin(services)
    await env.step(code("x = 1"))
    session = env.box.context._session
    await env.close()
    await env.close()
    with pytest.raises(SandboxError):
        await session.run("x")


async def test_an_episode_cut_short_is_paid_as_a_wrong_one(services: Services) -> None:
    assert (await begin(services, reward_wrong=-1.0)).unfinished_reward() == -1.0


async def test_a_failing_sandbox_is_an_error_not_a_reward(services: Services) -> None:
    env = await begin(services, sandbox={"name": "local", "allow_weak": True})
    await env.step(code("x = 1"))
    await services.close()
    with pytest.raises(SandboxError):
        await env.step(code("print(x)"))


async def test_a_seed_names_the_episode(services: Services) -> None:
    envs = [build("env", "retool").make(services) for _ in range(3)]
    shown = [(await env.reset(seed=seed))[0] for env, seed in zip(envs, (5, 5, 6), strict=True)]
    assert shown[0] == shown[1] != shown[2]


async def test_prompts(services: Services) -> None:
    question = {"role": "user", "content": TASK.prompt}
    shown: dict[str, Any] = {}
    for prompt in ("plain", "instruct", "auto"):
        env = build("env", {"name": "retool", "prompt": prompt}).make(services)
        shown[prompt], _ = await env.reset(seed=0, options={"task": TASK})
    assert shown["plain"] == [question]
    assert shown["auto"] == shown["instruct"]
    system, user = shown["instruct"]
    assert user == question
    for word in ("<code>", "</code>", "<interpreter>", r"\boxed{answer}"):
        assert word in system["content"]
    own = Task("t", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "6 * 7?"}], "42")
    messages, _ = await env.reset(seed=0, options={"task": own})
    assert [m["role"] for m in messages] == ["system", "user"]
    assert messages[0]["content"].startswith("Be brief.")


@pytest.mark.parametrize("tasks", ["arith", "countdown", {"name": "countdown", "count": 4}])
async def test_demonstrations_solve_the_tasks(services: Services, tasks: Any) -> None:
    config = build("env", {"name": "retool", "tasks": tasks})
    env = config.make(services)
    for seed, task in enumerate(config.source().draw(50, random.Random(0))):
        await env.reset(seed=seed, options={"task": task})
        actions, result = await demonstrate(env, seed)
        assert result.reward == 1.0, (task, actions)
        assert result.info["tool_calls"] == len(actions) - 1
        if task.info.get("level") != "easy":
            assert len(actions) > 1, "hard tasks are never answered from memory"
    await env.close()


async def test_a_demonstration_copies_what_the_interpreter_says(services: Services) -> None:
    env = await begin(services, Task("t", "What is 600 * 700?", "420000", {"expression": "600 * 700"}))
    script = env.demonstrate(random.Random(0))
    assert next(script) == "<code>\nprint(600*700)\n</code>"
    assert script.send("\n<interpreter>\n99\n</interpreter>\n") == r"\boxed{99}"


async def test_demonstrations_correct_their_mistakes(services: Services) -> None:
    task = Task("t", "What is 600 * 700?", "420000", {"expression": "600 * 700"})
    env = await begin(services, task, demo_error_rate=1.0)
    actions, result = await demonstrate(env)
    assert actions == [
        "<code>\nprin(600*700)\n</code>",
        "<code>\nprint(600*700)\n</code>",
        r"\boxed{420000}",
    ]
    assert result.reward == 1.0


@pytest.mark.parametrize("answer", [r"\frac{3}{4}", "007", "east", r"\{1, 2\}", 'it\'s "so"'])
async def test_an_oracle_answers_any_task(services: Services, answer: str) -> None:
    env = await begin(services, Task("t", "?", answer))
    actions, result = await demonstrate(env)
    assert len(actions) == 2
    assert result.reward == 1.0


@pytest.mark.parametrize(
    "field", [{"max_turns": 0}, {"timeout": 0}, {"demo_error_rate": 2}, {"tool_output": "maybe"}, {"max_turn": 3}]
)
def test_wrong_settings_are_refused_by_name(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        build("env", {"name": "retool", **field})
