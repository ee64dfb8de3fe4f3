"""What every tool promises."""

from __future__ import annotations

import asyncio
import json
import pickle
import random
import re
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from agentgym.checks.harness import Broken, CheckResult, expect, run_checks
from agentgym.checks.leftovers import no_leftovers
from agentgym.services import Services
from agentgym.tool import Call, Tool, ToolContext, Toolset
from agentgym.tooling.examples import make_arguments
from agentgym.tooling.toolbox import Toolbox

T = TypeVar("T")

EPISODES = 32
BLOCKED = 0.4
"""Seconds for which a call may keep the event loop from everything else."""
SHOWN = 60
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What APIs and chat templates take for a function's name."""
DEADLINE = 120.0
"""Seconds for a check."""


async def check_tool(toolset: Toolset) -> list[CheckResult]:
    """Every check on a toolset, unless it does not even answer."""
    first = await run_checks(toolset, FIRST, DEADLINE)
    if not first[-1].ok:
        return first
    return first + await run_checks(toolset, CHECKS, DEADLINE)


@dataclass(frozen=True, slots=True)
class Episodes:
    """Opens the tools for episodes that share services; all are closed with them."""

    toolset: Toolset
    services: Services
    stack: AsyncExitStack

    async def tools(self) -> Sequence[Tool]:
        """The tools themselves, to look at."""
        tools = await self.toolset.open(self.services)
        for tool in tools:
            self.stack.push_async_callback(tool.close)
        return tools

    async def open(self) -> Toolbox:
        """A fresh episode, with the same randomness as any other."""
        context = ToolContext(self.services, random.Random(0), trajectory="check")
        return self.adopt(await Toolbox.open([self.toolset], context))

    def adopt(self, box: Toolbox) -> Toolbox:
        """Close this one as well."""
        self.stack.push_async_callback(box.close)
        return box


@asynccontextmanager
async def open_episodes(toolset: Toolset) -> AsyncIterator[Episodes]:
    """Episodes with services of their own."""
    async with Services() as services, AsyncExitStack() as stack:
        yield Episodes(toolset, services, stack)


def example(tool: Tool, number: int) -> Call:
    """The author's `examples` in turn, or else arguments made up from the schema."""
    given: Sequence[Mapping[str, Any]] = getattr(tool, "examples", [])
    arguments = given[number % len(given)] if given else make_arguments(tool.spec.parameters, number)
    return Call(tool.spec.name, arguments)


async def answer(box: Toolbox, call: Call) -> str:
    """What the policy would read."""
    [result] = await box.run([call])
    return result.output


def show(call: Call, output: str = "") -> str:
    """`add(a=1) -> '2'`"""
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in call.arguments.items())
    return _short(f"{call.tool}({arguments})") + (f" -> {_short(repr(output))}" if output else "")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


async def policy_is_told_what_it_needs(toolset: Toolset) -> str:
    async with open_episodes(toolset) as episodes:
        tools = await episodes.tools()
    expect(bool(tools), "there is no tool in it")
    for tool in tools:
        spec = tool.spec
        expect(bool(NAME.fullmatch(spec.name)), f"{spec.name!r} is no name for a function")
        expect(bool(spec.description.strip()), f"{spec.name} has no description; write a docstring")
        expect(spec.parameters.get("type") == "object", f"{spec.name}: its parameters are no object")
        json.dumps(spec.function())
        for name, about in spec.parameters.get("properties", {}).items():
            expect(bool(about.get("description")), f"{spec.name}: {name!r} is not described")
    return ", ".join(
        f"{tool.spec.name}({', '.join(tool.spec.parameters.get('properties', {}))})" for tool in tools
    )


async def answers_in_time(toolset: Toolset) -> str:
    """Through the same door as a policy's calls, and so within the tool's own limits."""
    seen = []
    async with open_episodes(toolset) as episodes:
        for tool in await episodes.tools():
            call = example(tool, 0)
            box = await episodes.open()
            [result] = await _without_blocking(tool.spec.name, box.run([call]))
            if not result.ok and getattr(tool, "examples", []):
                raise Broken(f"its own example is refused: {show(call, result.output)}")
            seen.append(
                show(call, result.output) + ("" if result.ok else ": write `examples` to have others tried")
            )
    return "; ".join(seen)


async def _without_blocking(name: str, call: Coroutine[Any, Any, T]) -> T:
    """What the call gives, unless all else in the process stood still for long meanwhile."""
    loop, longest = asyncio.get_running_loop(), 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            longest = max(longest, loop.time() - before)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        return await call
    finally:
        await asyncio.sleep(0.02)
        watching.cancel()
        expect(
            longest < BLOCKED,
            f"{name} blocks every other episode for {longest:.1f} s: write it as a plain function, which gets a "
            f"thread, or await what it waits for",
        )


async def wrong_arguments_are_refused(toolset: Toolset) -> str:
    count = 0
    async with open_episodes(toolset) as episodes:
        box = await episodes.open()
        for tool in await episodes.tools():
            for arguments in _wrong(tool.spec.parameters, example(tool, 0).arguments):
                call = Call(tool.spec.name, arguments)
                [result] = await box.run([call])
                expect(not result.ok, f"{show(call, result.output)}, though that does not fit its schema")
                count += 1
    return f"{count} of them, each told why"


def _wrong(parameters: Mapping[str, Any], good: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arguments that do not fit: one too many, each required one missing, each number or list something else."""
    wrong = [{k: v for k, v in good.items() if k != name} for name in parameters.get("required", [])]
    if parameters.get("additionalProperties") is False:
        wrong.append({**good, "no_such_argument": 1})
    for name, about in parameters.get("properties", {}).items():
        if about.get("type") in ("integer", "number", "boolean", "array", "object"):
            wrong.append({**good, name: "neither"})
    return wrong


async def same_arguments_same_answer(toolset: Toolset) -> str:
    """What a tool says of itself when its fork is itself and its calls need no order: nothing changes."""
    stateless = 0
    async with open_episodes(toolset) as episodes:
        box = await episodes.open()
        for tool in await episodes.tools():
            if tool.ordered:
                continue
            stateless += 1
            call = example(tool, 0)
            first, _, again = [await answer(box, c) for c in (call, example(tool, 1), call)]
            expect(first == again, f"without state, but {show(call, first)} and then {again!r}; give it a fork")
    return f"{stateless} tool(s) without state" if stateless else "every tool has a state"


async def forks_are_isolated(toolset: Toolset) -> str:
    """A fork and its parent, each called further, answer as episodes do that are alone."""
    async with open_episodes(toolset) as episodes:
        for tool in await episodes.tools():
            before, here, there = [example(tool, number) for number in range(3)]
            expected = await _alone(episodes, before, here, before), await _alone(episodes, before, there, before)
            parent = await episodes.open()
            first = await answer(parent, before)
            twin = episodes.adopt(await parent.fork(None, "fork"))
            forked = [first, await answer(twin, there)]
            stayed = [first, await answer(parent, here)]
            forked.append(await answer(twin, before))
            stayed.append(await answer(parent, before))
            _compare(f"{tool.spec.name}: what a fork does reaches its parent", stayed, expected[0])
            _compare(f"{tool.spec.name}: what a parent does reaches its fork", forked, expected[1])
    return f"after {show(before)}: {show(here)} in one, {show(there)} in the other"


async def _alone(episodes: Episodes, *calls: Call) -> list[str]:
    box = await episodes.open()
    return [await answer(box, call) for call in calls]


def _compare(fault: str, seen: Sequence[str], alone: Sequence[str]) -> None:
    for one, other in zip(seen, alone, strict=True):
        expect(one == other, f"{fault}: it answers {_short(repr(one))}, alone {_short(repr(other))}")


async def many_at_a_time(toolset: Toolset) -> str:
    async with open_episodes(toolset) as episodes:
        for tool in await episodes.tools():
            calls = [example(tool, number) for number in range(4)]
            alone = [(await _alone(episodes, call))[0] for call in calls]
            boxes = [await episodes.open() for _ in range(EPISODES)]
            together = await asyncio.gather(*(answer(box, calls[i % 4]) for i, box in enumerate(boxes)))
            _compare(f"{tool.spec.name}: episodes reach each other", together, alone * (EPISODES // 4))
    return f"{EPISODES} episodes at the same time, each answered as if alone"


async def works_in_another_process(toolset: Toolset) -> str:
    expect(pickle.loads(pickle.dumps(toolset)) == toolset, "a pickled toolset is another one")
    async with open_episodes(toolset) as episodes:
        here = [tool.spec.function() for tool in await episodes.tools()]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agentgym.checks.reopen"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, complaint = await process.communicate(pickle.dumps((sys.path, pickle.dumps(toolset))))
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise Broken(
            f"it cannot be opened in another process: {complaint.decode().strip().rpartition(chr(10))[2]}"
        )
    expect(json.loads(output.splitlines()[-1]) == json.loads(json.dumps(here)), "its schema is another one there")
    return "pickled and opened again"


async def nothing_left_behind(toolset: Toolset) -> str:
    async with no_leftovers(), open_episodes(toolset) as episodes:
        box = await episodes.open()
        for tool in await episodes.tools():
            await box.run([example(tool, 0)])
        episodes.adopt(await box.fork(None, "fork"))
        await box.close()
        await box.close()
    return "no process, temporary file, task or descriptor"


FIRST = (policy_is_told_what_it_needs, answers_in_time)
CHECKS = (
    wrong_arguments_are_refused,
    same_arguments_same_answer,
    forks_are_isolated,
    many_at_a_time,
    works_in_another_process,
    nothing_left_behind,
)
