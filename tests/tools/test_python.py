from __future__ import annotations

import pytest

from agentgym.errors import ConfigError, ToolError
from agentgym.tool import ToolContext
from agentgym.tooling.load import toolset

SANDBOX = {"name": "local", "output_limit": 5000}


class Session:
    """The tool within an episode of its own, called as a policy would."""

    def __init__(self, tool, context):
        self.tool, self.context = tool, context

    async def __call__(self, code):
        return await self.tool.call({"code": code}, self.context)

    async def calls(self):
        return (await self.context.sandbox()).calls

    async def fork(self):
        return Session(await self.tool.fork(), await self.context.fork(None, "fork"))

    async def close(self):
        await self.context.close()
        await self.tool.close()


async def open_python(services, **fields):
    [tool] = await toolset({"name": "python", **fields}).open(services)
    return Session(tool, ToolContext(services, sandbox_config=SANDBOX))


@pytest.fixture
async def python(services):
    session = await open_python(services)
    yield session
    await session.close()


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("print(6 * 7)", "42"),
        ("6 * 7", "42"),
        ("```python\nprint(6 * 7)\n```", "42"),
        ("\n```py\nx = 6\nx * 7\n```\n", "42"),
        ("```\n6 * 7\n```", "42"),
        ("```python\n6 * 7", "42"),
        ("print('```python')", "```python"),
        ("x = 1", "(no output)"),
        ("import sys; print('warning', file=sys.stderr)", "(no output)"),
    ],
)
async def test_what_comes_back(python, argument, answer):
    assert await python(argument) == answer


@pytest.mark.parametrize(
    ("code", "first", "last"),
    [
        ("print('before')\ny + 1", "before", "NameError: name 'y' is not defined"),
        ("print('bye')\nexit()", "bye", "SystemExit: the program left the interpreter"),
        ("import sys; print('bye'); sys.exit(1)", "bye", "SystemExit: the program left the interpreter"),
        ("x = bytearray(10**10)", "MemoryError: the limit is 512 MB", "Interpreter restarted"),
        ("import os; os.kill(os.getpid(), 9)", "ProcessError", "ProcessError: the interpreter was killed"),
        ("print('x' * 10**6)", "xxx", "OutputError: too much output"),
    ],
)
async def test_a_failure_is_named_in_the_last_line(python, code, first, last):
    lines = (await python(code)).splitlines()
    assert lines[0].startswith(first)
    assert lines[-1].startswith(last)


async def test_what_does_not_end_is_stopped_and_says_what_was_lost(services):
    python = await open_python(services, timeout=0.5)
    lost = "TimeoutError: no result within 0.5 s; variables and files are lost."
    assert await python("while True: pass") == lost
    await python.close()


async def test_a_long_answer_keeps_both_ends_and_counts_what_is_missing(services):
    python = await open_python(services, max_chars=200)
    answer = await python("print('a' * 300 + 'b' * 300)")
    assert len(answer) <= 200
    head, mark, tail = answer.splitlines()
    assert (set(head), set(tail)) == ({"a"}, {"b"})
    assert mark == f"... ({600 - len(head) - len(tail)} characters left out) ..."
    assert await python("print('a' * 200)") == "a" * 200
    await python.close()


async def test_variables_stay_between_calls_and_the_session_counts_them(python):
    await python("x = 20")
    assert await python("x + 1") == "21"
    assert await python.calls() == 2


async def test_forks_go_their_own_ways(python):
    await python("xs = [1]")
    twin = await python.fork()
    await twin("xs.append(2)")
    assert (await twin("xs"), await python("xs")) == ("[1, 2]", "[1]")
    assert (await twin.calls(), await python.calls()) == (3, 2)
    await twin.close()


async def test_a_fork_before_the_first_call_is_a_fresh_tool(python):
    twin = await python.fork()
    assert await twin("1") == "1"
    assert (await twin.calls(), await python.calls()) == (1, 0)
    await twin.close()


async def test_calls_of_one_turn_keep_their_order(python):
    assert python.tool.ordered


async def test_the_policy_is_told_of_the_code_alone(python):
    assert list(python.tool.spec.parameters["properties"]) == ["code"]
    with pytest.raises(ToolError, match="code: is missing"):
        await python.tool.call({}, python.context)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"max_chars": 10}, "max_chars must be at least 100"), ({"timeout": 0}, "timeout must be")],
)
def test_settings_that_make_no_sense_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        toolset({"name": "python", **fields})


def test_the_tool_has_more_time_than_its_programs():
    """A late program is an answer to the policy; a late tool ends the episode."""
    from agentgym.config import build

    assert build("tool", {"name": "python", "timeout": 90}).limits.timeout > 90
