"""A toolbox keeps calls within their limits, in order, and apart in forks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentgym.errors import AgentgymError, ConfigError, ToolFailed, ToolTimeout
from agentgym.services import Services
from agentgym.tool import Budget, Call, Result, ToolContext
from agentgym.tooling.load import toolsets
from agentgym.tooling.toolbox import Toolbox

TOOLS = '''
import asyncio
import threading
import time
from dataclasses import dataclass

from agentgym.errors import ToolError
from agentgym.tool import ToolContext, limits

running = most = tries = asked = 0
cancelled = []
stopped = threading.Event()
gate = asyncio.Event()


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def meet(n: int) -> str:
    """Come back when all have come."""
    global running
    running += 1
    if running == n:
        gate.set()
    await gate.wait()
    return "met"


async def refuse(why: str) -> str:
    """Refuse."""
    raise ToolError(why)


async def break_down() -> str:
    """Break."""
    raise KeyError("gone")


async def hang() -> str:
    """Never come back."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled.append("hang")
        stopped.set()
        raise
    return ""


async def block() -> str:
    """Never lets go of the event loop."""
    time.sleep(0.3)
    return "late"


def spin() -> str:
    """Compute for ever, in a thread."""
    try:
        while True:
            time.sleep(0)
    finally:
        stopped.set()


@limits(retries=2)
async def third_time() -> str:
    """Works at the third try."""
    global tries
    tries += 1
    if tries < 3:
        raise ConnectionError(f"try {tries}")
    return "at last"


@limits(cache=True)
async def ask(question: str) -> str:
    """Answers."""
    global asked
    asked += 1
    return f"{question}: {asked}"


async def crowd() -> str:
    """Counts who is there."""
    global running, most
    running += 1
    most = max(most, running)
    for _ in range(5):
        await asyncio.sleep(0)
    running -= 1
    return "ok"


@limits(cost=2.0)
async def dear() -> str:
    """Costs."""
    return "bought"


async def draw(context: ToolContext) -> str:
    """A random number."""
    return str(context.rng.random())


class Notes:
    """Keeps notes."""

    def __init__(self):
        self.lines = []

    async def __call__(self, line: str) -> str:
        """Write a line, and see all."""
        before = list(self.lines)
        await asyncio.sleep(0)
        self.lines = [*before, line]
        return "|".join(self.lines)

    def fork(self):
        twin = Notes()
        twin.lines = list(self.lines)
        return twin
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some_tools.py"
    path.write_text(TOOLS)
    return path


async def box(
    services: Services, file: Path, *names: str | dict[str, Any], budget: float | None = None
) -> Toolbox:
    specs = [
        f"{file}:{name}" if isinstance(name, str) else {**name, "name": f"{file}:{name['name']}"} for name in names
    ]
    return await Toolbox.open(toolsets(specs), ToolContext(services, budget=Budget(budget)))


def outputs(results: list[Result]) -> list[str]:
    return [result.output for result in results]


def state(made: Toolbox, tool: str, name: str) -> Any:
    """A global variable of the tools' module."""
    return made._tools[tool].target.__globals__[name]  # type: ignore[attr-defined]


async def test_calls_of_one_turn_run_at_the_same_time_and_answer_in_order(services: Services, file: Path) -> None:
    tools = await box(services, file, "meet", "add")
    calls = [Call("meet", {"n": 3}), Call("add", {"a": 1, "b": 2}), *[Call("meet", {"n": 3})] * 2]
    async with asyncio.timeout(20):  # one after the other they would wait for ever
        assert outputs(await tools.run(calls)) == ["met", "3", "met", "met"]
    assert tools.calls == 4


async def test_calls_of_a_tool_with_state_keep_their_order(services: Services, file: Path) -> None:
    tools = await box(services, file, "Notes")
    results = await tools.run([Call("notes", {"line": letter}) for letter in "abc"])
    assert outputs(results) == ["a", "a|b", "a|b|c"]


async def test_a_fork_has_notes_of_its_own(services: Services, file: Path) -> None:
    parent = await box(services, file, "Notes")
    await parent.run([Call("notes", {"line": "both"})])
    twin = await parent.fork(None)
    assert outputs(await twin.run([Call("notes", {"line": "twin"})])) == ["both|twin"]
    assert outputs(await parent.run([Call("notes", {"line": "parent"})])) == ["both|parent"]
    assert (parent.calls, twin.calls) == (2, 2)


async def test_a_forks_randomness_is_copied_or_reseeded(services: Services, file: Path) -> None:
    parent = await box(services, file, "draw")
    copy, other = await parent.fork(None), await parent.fork(7)
    drawn = [outputs(await tools.run([Call("draw", {})])) for tools in (parent, copy, other)]
    assert drawn[0] == drawn[1] != drawn[2]


async def test_what_a_tool_refuses_reaches_the_policy_and_what_breaks_does_not(
    services: Services, file: Path
) -> None:
    tools = await box(services, file, "refuse", "break_down")
    (refused,) = await tools.run([Call("refuse", {"why": "not today"})])
    assert (refused.output, refused.ok) == ("Error: not today", False)
    with pytest.raises(ToolFailed, match=r"tool 'break_down': KeyError: 'gone' \(.*some_tools.py, line \d+\)"):
        await tools.run([Call("break_down", {})])


async def test_a_tool_that_does_not_exist_is_refused_and_not_counted_as_a_call(
    services: Services, file: Path
) -> None:
    tools = await box(services, file, "add")
    (result,) = await tools.run([Call("ad", {})])
    assert result.output == "Error: there is no tool 'ad': did you mean 'add'? Known: add"
    assert (tools.calls, tools.refused) == (0, 1)


@pytest.mark.parametrize("name", ["hang", "spin"])
async def test_a_deadline_stops_the_tool_itself(services: Services, file: Path, name: str) -> None:
    tools = await box(services, file, {"name": name, "timeout": 0.2})
    with pytest.raises(ToolTimeout, match=f"tool '{name}' gave no answer within 0.2 s"):
        await tools.run([Call(name, {})])
    async with asyncio.timeout(20):
        await asyncio.to_thread(state(tools, name, "stopped").wait)


async def test_an_answer_that_comes_late_is_none_though_nothing_could_stop_it(
    services: Services, file: Path
) -> None:
    tools = await box(services, file, {"name": "block", "timeout": 0.1})
    with pytest.raises(ToolTimeout, match=r"answered after more than 0\.1 s in which nothing else could run"):
        await tools.run([Call("block", {})])


async def test_when_one_call_fails_the_others_are_cancelled(services: Services, file: Path) -> None:
    tools = await box(services, file, "hang", "break_down")
    async with asyncio.timeout(20):
        with pytest.raises(ToolFailed, match="gone"):
            await tools.run([Call("hang", {}), Call("break_down", {})])
    assert state(tools, "hang", "cancelled") == ["hang"]


async def test_retries(services: Services, file: Path) -> None:
    tools = await box(services, file, "third_time", {"name": "break_down", "retries": 1})
    assert outputs(await tools.run([Call("third_time", {})])) == ["at last"]
    with pytest.raises(ToolFailed, match="gone"):
        await tools.run([Call("break_down", {})])


async def test_a_cache_answers_what_was_asked_before_in_any_episode(services: Services, file: Path) -> None:
    first, second = await box(services, file, "ask"), await box(services, file, "ask")
    asked = [await tools.run([Call("ask", {"question": q})]) for q in "aab" for tools in (first, second)]
    assert [outputs(results)[0] for results in asked] == ["a: 1"] * 4 + ["b: 2"] * 2


async def test_concurrency_is_of_all_episodes_together(services: Services, file: Path) -> None:
    boxes = [await box(services, file, {"name": "crowd", "concurrency": 3}) for _ in range(4)]
    await asyncio.gather(*(tools.run([Call("crowd", {})] * 4) for tools in boxes))
    assert state(boxes[0], "crowd", "most") == 3


async def test_a_rate_holds_calls_back(services: Services, file: Path) -> None:
    tools = await box(services, file, {"name": "add", "rate": 2.0, "timeout": 0.05})
    running = [asyncio.ensure_future(tools.run([Call("add", {"a": i, "b": 0})])) for i in range(3)]
    _, waiting = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    assert len(waiting) >= 1, "the third has to wait"
    async with asyncio.timeout(20):  # and does, whatever its own deadline, for it has not begun
        assert [outputs(results)[0] for results in await asyncio.gather(*running)] == ["0", "1", "2"]


async def test_a_budget_refuses_what_it_cannot_pay(services: Services, file: Path) -> None:
    tools = await box(services, file, "dear", "add", budget=5.0)
    twin = await tools.fork(None)
    results = await tools.run([Call("dear", {})] * 3 + [Call("add", {"a": 1, "b": 1})])
    assert [result.ok for result in results] == [True, True, False, True]
    assert "budget" in results[2].output
    assert (tools.context.budget.spent, tools.calls, tools.refused) == (4.0, 3, 1)
    assert [result.ok for result in await twin.run([Call("dear", {})])] == [True]


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        (["add", "add"], "two tools are called 'add'"),
        ([{"name": "add", "timeout": 0}], "timeout must be above 0, not 0"),
        ([{"name": "add", "tries": 2}], "unknown key 'tries'"),
        ([{"name": "Notes", "cache": True}], "cache"),
        (["ad"], "did you mean 'add'"),
    ],
)
async def test_wrong_settings_are_refused(services: Services, file: Path, tools: list[Any], reason: str) -> None:
    with pytest.raises((ConfigError, AgentgymError), match=reason):
        await box(services, file, *tools)


async def test_tools_that_ask_at_once_share_one_sandbox() -> None:
    async with Services() as services:
        context = ToolContext(services, sandbox_config={"name": "local", "allow_weak": True, "preload": []})
        sessions = await asyncio.gather(*(context.sandbox() for _ in range(4)))
        assert all(session is sessions[0] for session in sessions)
        await context.close()
