from __future__ import annotations

import pytest

from agentgym.sandboxes.local import Local
from agentgym.services import Services
from agentgym.tools.python import Python


@pytest.fixture
async def services():
    async with Services() as services:
        yield services


@pytest.fixture
async def python(services):
    tool = Python(services, Local(output_limit=5000), timeout=0.5)
    yield tool
    await tool.close()


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
        (
            "while True: pass",
            "TimeoutError",
            "TimeoutError: no result within 0.5 s; variables and files are lost.",
        ),
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


async def test_a_long_answer_keeps_both_ends_and_counts_what_is_missing(services):
    tool = Python(services, Local(), max_chars=200)
    answer = await tool("print('a' * 300 + 'b' * 300)")
    assert len(answer) <= 200
    head, mark, tail = answer.splitlines()
    assert (set(head), set(tail)) == ({"a"}, {"b"})
    assert mark == f"... ({600 - len(head) - len(tail)} characters left out) ..."
    assert await tool("print('a' * 200)") == "a" * 200
    await tool.close()


async def test_no_session_before_the_first_call(services):
    tool = Python(services, Local())
    assert tool.calls == 0
    await tool.close()
    assert services._open == {}


async def test_variables_stay_between_calls_and_calls_are_counted(python):
    await python("x = 20")
    assert await python("x + 1") == "21"
    assert python.calls == 2


async def test_forks_go_their_own_ways(python):
    await python("xs = [1]")
    twin = await python.fork()
    await twin("xs.append(2)")
    assert (await twin("xs"), await python("xs")) == ("[1, 2]", "[1]")
    assert (twin.calls, python.calls) == (3, 2)
    await twin.close()


async def test_a_fork_before_the_first_call_is_a_fresh_tool(python):
    twin = await python.fork()
    assert await twin("1") == "1"
    assert (twin.calls, python.calls) == (1, 0)
    await twin.close()


def test_an_answer_too_short_to_be_of_use_is_refused(services):
    with pytest.raises(ValueError, match="max_chars must be at least 100"):
        Python(services, Local(), max_chars=10)
