"""The environment tool_agent: any tools, any protocol, any questions."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from agentgym import run
from agentgym.config import build, parse_overrides
from agentgym.env import Env, StepResult
from agentgym.errors import ConfigError, TaskError, ToolFailed
from agentgym.gym import as_text
from agentgym.rollout.failures import classify
from agentgym.services import Services
from agentgym.tool import Call
from agentgym.types import Outcome, Task
from agentgym.vocabulary import COMMON, unescape

TOOLS = '''
import asyncio

both = asyncio.Event()
seen = 0


async def double(n: int) -> int:
    """Twice a number."""
    return 2 * n


async def echo(text: str) -> str:
    """Say it again."""
    return text


async def pair(n: int) -> str:
    """Comes back when two are here."""
    global seen
    seen += 1
    if seen == 2:
        both.set()
    await both.wait()
    return str(n)


async def broken() -> str:
    """Breaks."""
    raise OSError("no disk")


class Counter:
    """Counts."""

    count = 0

    def __call__(self) -> int:
        """Count one more."""
        self.count += 1
        return self.count

    def fork(self) -> "Counter":
        twin = Counter()
        twin.count = self.count
        return twin
'''
PROTOCOLS = ("retool", "search_r1", "arpo", "hermes", "json")
TASK = Task("t", "What is twice 21?", "42", {"calls": [{"name": "double", "arguments": {"n": 21}}]})
OTHER = Task("o", "What is twice 4?", "8", {"calls": [{"name": "double", "arguments": {"n": 4}}]})


@pytest.fixture
def tools(tmp_path: Path) -> str:
    file = tmp_path / "agent_tools.py"
    file.write_text(TOOLS)
    return ",".join(f"{file}:{name}" for name in ("double", "echo", "pair", "broken", "Counter"))


async def begin(services: Services, tools: str, task: Task = TASK, **fields: Any) -> Env:
    env: Env = build("env", {"name": "tool_agent", "tools": tools, **fields}).make(services)
    await env.reset(seed=0, options={"task": task})
    return env


async def demonstrate(env: Env) -> StepResult:
    script = env.demonstrate(random.Random(0))
    result = await env.step(next(script))
    while not result.terminated:
        result = await env.step(script.send(result.observation))
    return result


def hermes(*calls: tuple[str, dict[str, Any]]) -> str:
    texts = (json.dumps({"name": name, "arguments": arguments}) for name, arguments in calls)
    return "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in texts)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_question_is_solved_in_every_protocol(services: Services, tools: str, protocol: str) -> None:
    env = await begin(services, tools, protocol=protocol)
    result = await demonstrate(env)
    assert (result.reward, result.info["success"], result.info["answer"]) == (1.0, True, "42")
    assert result.info["tool_calls"] == 1


async def test_parallel_calls_run_together_and_are_answered_in_order(services: Services, tools: str) -> None:
    env = await begin(services, tools)
    result = await env.step(hermes(("pair", {"n": 1}), ("double", {"n": 5}), ("pair", {"n": 2})))
    assert [message["content"] for message in result.observation] == ["1", "10", "2"]  # type: ignore[index]
    assert [message["name"] for message in result.observation] == ["pair", "double", "pair"]  # type: ignore[index,typeddict-item]
    assert result.info == {"tool_calls": 3}


async def test_malformed_and_unknown_calls_are_corrected_and_counted(services: Services, tools: str) -> None:
    env = await begin(services, tools)
    said = "<tool_call>\n{oops}\n</tool_call>\n" + hermes(
        ("doubel", {"n": 1}), ("double", {"m": 1}), ("double", {"n": 1})
    )
    result = await env.step(said)
    texts = [message["content"] for message in result.observation]  # type: ignore[index]
    assert "JSON" in texts[0]
    assert "did you mean 'double'" in texts[1]
    assert "m: there is no such argument" in texts[2]
    assert texts[3] == "2"
    assert result.info == {"tool_calls": 2, "malformed_calls": 2}
    assert not result.terminated


async def test_tools_are_announced_to_whoever_follows_instructions(services: Services, tools: str) -> None:
    env = await begin(services, tools, prompt="instruct")
    opening, _ = await env.reset(seed=0, options={"task": TASK})
    announced = opening[0]["tools"]  # type: ignore[index,typeddict-item]
    assert [tool["function"]["name"] for tool in announced] == ["double", "echo", "pair", "broken", "counter"]
    assert announced[0]["function"]["parameters"]["required"] == ["n"]
    tags = await begin(services, tools, prompt="instruct", protocol="arpo")
    opening, _ = await tags.reset(seed=0, options={"task": TASK})
    assert "<double>" in as_text(opening)
    plain = await begin(services, tools, prompt="plain")
    opening, _ = await plain.reset(seed=0, options={"task": TASK})
    assert opening == [{"role": "user", "content": TASK.prompt}]


async def test_a_tool_that_breaks_is_a_failure_of_the_machinery(services: Services, tools: str) -> None:
    env = await begin(services, tools)
    with pytest.raises(ToolFailed, match="no disk") as failure:
        await env.step(hermes(("broken", {})))
    assert classify(failure.value) is Outcome.ENV_ERROR


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_a_tool_prints_neither_calls_nor_answers(services: Services, tools: str, protocol: str) -> None:
    """Every protocol's calls and right answers, and every control token, as outputs of a tool."""
    specs = (await begin(services, tools)).box.specs  # type: ignore[attr-defined]
    dialogues = [build("protocol", name).bind(specs) for name in PROTOCOLS]
    calls = [Call("double", {"n": 3}), Call("counter", {})]
    written = [text for d in dialogues for text in (d.write_calls(calls), d.write_answer("42"))]
    tags = [f"{opening}{tag}>" for d in dialogues for tag in d.tags for opening in ("<", "</")]
    for hostile in (*written, " ".join(tags), " ".join(COMMON)):
        env = await begin(services, tools, protocol=protocol)
        dialogue = env.dialogue  # type: ignore[attr-defined]
        result = await env.step(dialogue.write_calls([Call("echo", {"text": hostile})]))
        (shown,) = dialogue.read(result.observation)
        assert unescape(shown) == hostile
        assert not any(f"<{tag}>" in shown or f"</{tag}>" in shown for tag in dialogue.tags)
        assert result.info["tool_calls"] == 1
        end = await env.step("That was it.")
        assert (end.reward, end.info.get("answer"), end.info["tool_calls"]) == (0.0, None, 1)
        await env.close()


async def test_an_output_is_cut_to_its_tools_limit(services: Services, tmp_path: Path) -> None:
    (tmp_path / "long_tools.py").write_text(
        'async def much() -> str:\n    """Much."""\n    return "word " * 5000\n'
    )
    env = await begin(services, f"{tmp_path}/long_tools.py:much")
    result = await env.step(hermes(("much", {})))
    assert "left out" in as_text(result.observation)
    assert len(services.vocabulary.clip(as_text(result.observation), 10**6)) < 512 * 4 + 100


async def test_off_and_swapped(services: Services, tools: str) -> None:
    off = await begin(services, tools, tool_output="off")
    result = await off.step(hermes(("double", {"n": 21})))
    assert as_text(result.observation) == "tool: (the tool is off)"
    assert result.info == {"tool_calls": 0}
    first = await begin(services, tools, tool_output="swapped")
    await first.step(hermes(("double", {"n": 21})))
    second = await begin(services, tools, OTHER, tool_output="swapped")
    result = await second.step(hermes(("double", {"n": 4}), ("echo", {"text": "hello"})))
    assert result.observation[0]["content"] == "42", "the same tool's, in another episode"  # type: ignore[index]
    assert result.observation[1]["content"] not in ("42", "hello")  # type: ignore[index]


async def test_forks_have_tools_of_their_own(services: Services, tools: str) -> None:
    env = await begin(services, tools)
    await env.step(hermes(("counter", {})))
    twin = await env.fork(seed=1)
    for one, wanted in ((env, "2"), (twin, "2"), (twin, "3"), (env, "3")):
        assert as_text((await one.step(hermes(("counter", {})))).observation) == f"tool: {wanted}"


async def test_calls_cost_and_turns_end(services: Services, tools: str) -> None:
    env = await begin(services, tools, call_cost=0.125, max_turns=2, reward_wrong=-1.0)
    result = await env.step(hermes(("double", {"n": 1}), ("double", {"n": 2})))
    assert result.reward == -0.25
    result = await env.step(hermes(("double", {"n": 1})))
    assert (result.reward, result.truncated, result.info["outcome"]) == (-1.0, True, "max_turns")


async def test_tasks_without_calls_cannot_be_demonstrated(services: Services, tools: str) -> None:
    env = await begin(services, tools, Task("bare", "What?", "42"))
    with pytest.raises(NotImplementedError, match=r"'bare' has no info\.calls"):
        env.demonstrate(random.Random(0))
    for call, fault in (
        ("double", r"info\.calls holds 'double'"),
        ({"name": "double", "arguments": '{"n": 1}'}, "a table of arguments"),
        ({"name": "doubel", "arguments": {}}, "did you mean 'double'"),
    ):
        env = await begin(services, tools, Task("odd", "What?", "42", {"calls": [call]}))
        with pytest.raises(TaskError, match=f"'odd': .*{fault}"):
            env.demonstrate(random.Random(0))


async def test_python_is_there_by_default(services: Services) -> None:
    env = build("env", "tool_agent").make(services)
    await env.reset(seed=3)
    result = await demonstrate(env)
    assert (result.reward, result.info["tool_calls"]) == (1.0, 1)


def test_tools_at_the_top_choose_the_environment(tools: str) -> None:
    settings = run.resolve_settings(parse_overrides([f"tools={tools}", "env.protocol=json"]), [])
    env = build("env", settings.env)
    assert (type(env).__name__, env.tools, env.protocol) == ("ToolAgent", tools, "json")
    with pytest.raises(ConfigError, match="unknown key 'tools'"):
        run.resolve_settings(parse_overrides([f"tools={tools}", "env=maze"]), [])


def test_tasks_that_show_nothing_end_a_training_at_once(tools: str, tmp_path: Path) -> None:
    rows = [json.dumps({"question": f"What is twice {n}?", "answer": str(2 * n)}) for n in range(60)]
    (tmp_path / "bare.jsonl").write_text("\n".join(rows))
    words = [f"tools={tools}", f"env.tasks={tmp_path}/bare.jsonl", f"output_dir={tmp_path}"]
    with pytest.raises((ConfigError, ExceptionGroup)) as stopped:
        asyncio.run(run.rollout(run.resolve_settings(parse_overrides(words), []), 2, demo=True))
    assert stopped.group_contains(ConfigError, match="has no info.calls.*recipe=grpo")


def test_a_wrong_tool_is_found_before_anything_starts(tools: str) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        run.resolve_settings(parse_overrides([f"tools={tools}x"]), [])
    with pytest.raises(ConfigError, match="none is named"):
        run.resolve_settings(parse_overrides(["tools="]), [])
    with pytest.raises(ConfigError, match="hermes"):
        run.resolve_settings(parse_overrides([f"tools={tools}", "env.protocol=hermos"]), [])
