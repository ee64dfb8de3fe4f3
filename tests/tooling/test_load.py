"""Functions and classes as tools: found by name, called, forked and closed."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentgym.errors import ConfigError, ToolError, ToolFailed
from agentgym.services import Services
from agentgym.tool import Tool, ToolContext
from agentgym.tooling.load import toolset, toolsets

HERE = Path(__file__).parent
PLUGIN = HERE / "plugin.py"


async def open_tool(services: Services, name: str, file: Path = PLUGIN, **fields: Any) -> Tool:
    [tool] = await toolset({"name": f"{file}:{name}", **fields}).open(services)
    return tool


async def answer(tool: Tool, services: Services, **arguments: Any) -> str:
    return await tool.call(arguments, ToolContext(services, trajectory="t1"))


async def test_a_function_is_a_tool(services: Services) -> None:
    tool = await open_tool(services, "add")
    assert (tool.spec.name, tool.spec.description) == ("add", "Add two numbers.")
    assert (tool.ordered, await tool.fork() is tool) == (False, True)
    assert await answer(tool, services, a=2) == "3"
    with pytest.raises(ToolError, match="a: is missing"):
        await answer(tool, services)


async def test_limits_come_from_the_tool_and_then_from_the_table(services: Services) -> None:
    tool = await open_tool(services, "add")
    assert (tool.limits.timeout, tool.limits.retries, tool.limits.cost) == (7, 2, 0)
    tool = await open_tool(services, "add", retries="1", cost=0.5)
    assert (tool.limits.timeout, tool.limits.retries, tool.limits.cost) == (7, 1, 0.5)


async def test_a_field_of_the_class_comes_before_a_limit_of_that_name(services: Services) -> None:
    tool = await open_tool(services, "Notes", timeout=3, max_tokens=9)
    assert (tool.limits.timeout, tool.limits.max_tokens) == (30, 9)
    assert tool.target.timeout == 3  # type: ignore[attr-defined]


async def test_the_context_is_given_to_who_asks_for_it(services: Services) -> None:
    assert await answer(await open_tool(services, "whose"), services, prefix="of ") == "of t1"
    assert await answer(await open_tool(services, "whose", HERE / "typed_late.py"), services) == "t1"


async def test_plain_functions_run_beside_the_event_loop(services: Services) -> None:
    assert await answer(await open_tool(services, "thread"), services) == "tool thread"


async def test_what_comes_back_is_text(services: Services) -> None:
    tool = await open_tool(services, "give")
    kinds = ("none", "list", "point", "text")
    said = [await answer(tool, services, kind=kind) for kind in kinds]
    assert said == ["(no output)", '[1,{"a":null}]', '{"by":2}', "as it is"]
    with pytest.raises(TypeError, match=r"it returned a function, which JSON cannot hold"):
        await answer(tool, services, kind="function")


async def test_a_refusal_is_the_authors_own_words_and_leaving_ends_nothing(services: Services) -> None:
    with pytest.raises(ToolError, match=r"^because$"):
        await answer(await open_tool(services, "refuse"), services, reason="because")
    with pytest.raises(ToolFailed, match="tool 'leave' tried to end the program"):
        await answer(await open_tool(services, "leave"), services)


@pytest.mark.parametrize(("name", "key"), [("Counter", "by"), ("Notes", "note")])
async def test_a_class_has_a_state_for_each_episode_and_each_fork(services: Services, name: str, key: str) -> None:
    tool, other = [await open_tool(services, name, **({"most": 9} if name == "Notes" else {})) for _ in range(2)]
    assert tool.ordered
    await answer(tool, services, **{key: "1"})
    twin = await tool.fork()
    here = [await answer(tool, services, **{key: value}) for value in ("2", "3")]
    there = await answer(twin, services, **{key: "9"})
    assert here == (["3", "6"] if name == "Counter" else ['["1","2"]', '["1","2","3"]'])
    assert there == ("10" if name == "Counter" else '["1","9"]')
    assert await answer(other, services, **{key: "5"}) == ("5" if name == "Counter" else '["5"]')


async def test_close_ends_what_forks_hold(services: Services) -> None:
    tool = await open_tool(services, "Counter")
    await answer(tool, services, by=4)
    twin = await tool.fork()
    log = sys.modules[type(tool.target).__module__].closed  # type: ignore[attr-defined]
    await twin.close()
    assert log.pop() == "counter 4"


async def test_a_class_without_state_is_one_for_all_and_closed_with_the_run() -> None:
    async with Services() as services:
        tool, other = [await open_tool(services, "Adder", by=3) for _ in range(2)]
        log = sys.modules[type(tool.target).__module__].closed  # type: ignore[attr-defined]
        assert tool is other
        assert not tool.ordered
        assert tool.spec.description == "Add."
        await (await tool.fork()).close()
        assert await answer(tool, services, n=1) == "4"
        assert "adder 3" not in log
    assert log.pop() == "adder 3"


async def test_a_fork_that_is_none_is_found_out(services: Services) -> None:
    tool = await open_tool(services, "Itself")
    with pytest.raises(ToolFailed, match="tool 'itself': its fork is itself; say `stateless = True`"):
        await tool.fork()


async def test_a_fork_that_fails_names_the_tool(services: Services) -> None:
    tool = await open_tool(services, "Torn")
    with pytest.raises(ToolFailed, match="tool 'torn': its fork: OSError: disk full"):
        await tool.fork()


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_any_name_may_be_an_argument(services: Services, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "tools.py"
    file.write_text(f"{kind} count(function: int, self: int) -> int:\n    return function + self\n")
    tool = await open_tool(services, "count", file)
    assert await tool.call({"function": 1, "self": 2}, ToolContext(services)) == "3"


async def test_what_a_plain_function_returns_may_be_awaited(services: Services) -> None:
    assert await answer(await open_tool(services, "later"), services, n=1) == "2"


async def test_a_coroutine_is_cancelled_where_it_waits(services: Services) -> None:
    tool = await open_tool(services, "forever")
    running = asyncio.ensure_future(answer(tool, services, started="left"))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sys.modules[tool.target.__module__].closed.pop() == "left"  # type: ignore[attr-defined]


def test_a_class_is_called_by_its_name_in_lower_case() -> None:
    plan = asyncio.run(_open_alone("HTTPSearch2Tool"))
    assert plan.spec.name == "http_search2_tool"


async def _open_alone(name: str) -> Tool:
    async with Services() as services:
        return await open_tool(services, name)


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("Unforkable", {}, "class Unforkable has no fork; write `fork.self.`.* or say `stateless = True`"),
        ("Needy", {}, "class Needy needs arguments .missing a required argument: 'folder'.; make it a dataclass"),
        ("nameless", {}, "<lambda> has no name to call it by; write `def`"),
        ("LOADED", {}, "'LOADED' is no function or class in .*plugin.py"),
        ("ad", {}, "'ad' does not exist in .*did you mean 'add'"),
        ("add", {"retires": 1}, "tool add: unknown key 'retires': did you mean 'retries'. Known: cache, "),
        ("add", {"timeout": "soon"}, "tool add: timeout: expected float, not 'soon'"),
        ("Notes", {"moist": 1}, "tool notes: unknown key 'moist': did you mean 'most'. Known: cache, "),
        ("Notes", {"notes": ["a"]}, "tool notes: unknown key 'notes'"),
        ("Notes", {"most": "few"}, "tool notes: most: expected int, not 'few'"),
        ("Counter", {"cache": True}, "tool 'counter': cache is for tools without state"),
        ("whose", {"cache": True}, "tool 'whose': cache is for tools without state"),
    ],
)
def test_what_is_no_tool_is_refused_at_once(name: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        toolset({"name": f"{PLUGIN}:{name}", **fields})


def test_a_class_that_cannot_be_made_names_the_tool() -> None:
    with pytest.raises(ToolFailed, match="tool 'broken' cannot be made: OSError: no database"):
        toolset(f"{PLUGIN}:Broken")


def test_names_are_listed_with_commas() -> None:
    assert toolsets(f"python, {PLUGIN}:add") == toolsets(["python", {"name": f"{PLUGIN}:add"}])
    with pytest.raises(ConfigError, match="unknown tool 'pyton': did you mean 'python'"):
        toolsets("python,pyton")


async def test_files_of_one_name_stay_apart(services: Services, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"def who() -> str:\n    'Who.'\n    return {folder!r}\n")
    tools = [await open_tool(services, "who", tmp_path / folder / "mine.py") for folder in ("a", "b")]
    assert [await answer(tool, services) for tool in tools] == ["a", "b"]
    modules = [sys.modules[tool.target.__module__] for tool in tools]  # type: ignore[attr-defined]
    assert [Path(module.__file__ or "").parent.name for module in modules] == ["a", "b"]


async def test_tools_of_a_file_share_what_is_in_it(services: Services, tmp_path: Path) -> None:
    source = "kept = []\ndef put(x: int) -> None:\n    kept.append(x)\ndef get() -> list[int]:\n    return kept\n"
    (tmp_path / "store.py").write_text(source)
    put, get = [await open_tool(services, name, tmp_path / "store.py") for name in ("put", "get")]
    await answer(put, services, x=5)
    assert await answer(get, services) == "[5]"


def test_a_toolset_works_in_another_process_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    data = pickle.dumps(toolset({"name": "plugin.py:Notes", "most": 1}))
    program = f"""
import asyncio, pickle
from agentgym.services import Services
from agentgym.tool import ToolContext

async def main():
    async with Services() as services:
        [tool] = await pickle.loads({data!r}).open(services)
        print(await tool.call({{"note": "a"}}, ToolContext(services)))

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ('["a"]\n', "")


async def test_a_module_is_named_with_dots(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    [tool] = await toolset("plugin:add").open(services)
    assert await answer(tool, services, a=1) == "2"
