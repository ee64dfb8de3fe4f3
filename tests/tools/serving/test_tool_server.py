"""The tool `tool_server`: against our server, and against answers in the forms that VerlTool's give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentgym.errors import ConfigError, SandboxError, ToolFailed, ToolTimeout
from agentgym.services import Services
from agentgym.serving.address import Address
from agentgym.serving.loop import serving as serve
from agentgym.tool import Call, ToolContext
from agentgym.tooling.load import toolsets
from agentgym.tooling.toolbox import Toolbox

from .conftest import Serving

BARE = {"name": "local", "allow_weak": True, "preload": []}
Opens = Callable[..., Any]


@pytest.fixture
async def opens() -> AsyncIterator[Opens]:
    """Opens toolboxes with the tool."""
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(Services())

        async def open(trajectory: str = "", **fields: Any) -> Toolbox:
            context = ToolContext(services, trajectory=trajectory)
            toolbox = await Toolbox.open(toolsets([{"name": "tool_server", **fields}]), context)
            stack.push_async_callback(toolbox.close)
            return toolbox

        yield open


async def say(toolbox: Toolbox, action: str) -> tuple[str, bool]:
    [result] = await toolbox.run([Call("tool_server", {"action": action})])
    return result.output, result.ok


async def test_programs_of_two_episodes_run_in_the_servers_sandbox(serving: Serving, opens: Opens) -> None:
    trainer = await serving(tools="python", sandbox=BARE, workers=2)
    first, second = [await opens("episode", url=trainer.url, wrap="<python>{}</python>") for _ in range(2)]
    await say(first, "x = 6")
    assert await say(second, "x = 7") == ("<result>\n(no output)\n</result>", True)
    assert await say(first, "print(x * 7)") == ("<result>\n42\n</result>", True)
    assert await say(second, "print(x * 7)") == ("<result>\n49\n</result>", True)
    assert await trainer.metric("trajectories") == 2
    fenced = "Let me see.\n```python\nx = 1\n```\nThen\n```python\nfor i in range(2):\n    print(x + i)\n```\n"
    assert await trainer.observe("fenced", fenced, is_last_step=True) == (
        "\n<result>\n1\n2\n</result>\n",
        False,
        True,
    )
    await first.close()
    await second.close()
    assert await trainer.metric("trajectories") == 0


async def test_refusals_are_for_the_policy_and_failures_are_not(serving: Serving, opens: Opens) -> None:
    trainer = await serving("Counter", "refuses", "breaks")
    toolbox = await opens("a", url=f"{trainer.url}/get_observation")
    assert await say(toolbox, "<counter>x</counter>") == ("<result>\nx 1\n</result>", True)
    output, ok = await say(toolbox, "<refuses>soup</refuses>")
    assert "not to my taste" in output
    assert not ok
    output, ok = await say(toolbox, "what now?")
    assert output.startswith("Error: To call a tool")
    assert not ok
    with pytest.raises(ToolFailed, match="RuntimeError: x"):
        await say(toolbox, "<breaks>x</breaks>")
    with pytest.raises(ToolFailed, match="no state here any more"):
        await say(toolbox, "<counter>x</counter>")


async def test_a_state_on_a_server_cannot_be_forked(serving: Serving, opens: Opens) -> None:
    trainer = await serving("Counter")
    toolbox = await opens("a", url=trainer.url)
    twin = await toolbox.fork(None, "b")
    assert await say(toolbox, "<counter>x</counter>") == ("<result>\nx 1\n</result>", True)
    assert await say(twin, "<counter>x</counter>") == ("<result>\nx 1\n</result>", True)
    with pytest.raises(SandboxError, match="cannot be copied"):
        await toolbox.fork(None, "c")
    await twin.close()
    loose = await opens("d", url=trainer.url, stateless=True)
    await say(loose, "<counter>x</counter>")
    twin = await loose.fork(None, "e")
    assert await say(twin, "<counter>x</counter>") == ("<result>\nx 1\n</result>", True)
    await twin.close()


Canned = Callable[..., Any]


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    """A server that gives fixed answers, one after the other, and writes down what it was asked."""
    async with AsyncExitStack() as stack:

        async def start(*answers: Response | None) -> tuple[str, list[Any]]:
            asked: list[Any] = []

            async def answer(request: Request) -> Response:
                asked.append(await request.json())
                reply = answers[min(len(asked), len(answers)) - 1]
                if reply is None:
                    await asyncio.Event().wait()
                    raise AssertionError
                return reply

            listener = stack.enter_context(Address(port=0).listen())
            app = Starlette(routes=[Route("/get_observation", answer, methods=["POST"])])
            url = await stack.enter_async_context(serve(app, listener, timeout_graceful_shutdown=0))
            return url, asked

        yield start


def observed(observation: Any, done: Any = False, valid: Any = True) -> Response:
    return JSONResponse({"observations": [observation], "dones": [done], "valids": [valid]})


@pytest.mark.parametrize(
    ("answer", "output", "ok"),
    [
        (observed("\n<output>\n42\n</output>\n"), "<output>\n42\n</output>", True),
        (observed({"obs": "42", "reward": 0.5}, 0, 1), "42", True),
        (observed("", True, True), "", True),
        (observed("", False, False), "Error: ", False),
        (
            observed({"obs": "", "invalid_reason": "No valid tool found", "available_tools": "x"}, 0, 0),
            "Error: No valid tool found",
            False,
        ),
    ],
)
async def test_observations_of_every_form(
    canned: Canned, opens: Opens, answer: Response, output: str, ok: bool
) -> None:
    url, asked = await canned(answer, observed(""))
    toolbox = await opens("a", url=url, wrap="<python>{}</python>")
    assert await say(toolbox, "{}") == (output, ok)
    await toolbox.close()
    [first, last] = asked
    assert first["actions"] == ["<python>{}</python>"]
    assert (first["finish"], first["is_last_step"]) == ([False], [False])
    assert (last["finish"], last["actions"]) == ([True], [""])
    assert first["trajectory_ids"] == last["trajectory_ids"]
    assert first["trajectory_ids"][0].startswith("a-")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (observed({"obs": "", "error": "Tool processing failed: x"}, True, False), "Tool processing failed: x"),
        (observed("the trajectory is over", True, False), "the trajectory is over"),
        (observed(7), "no observation"),
        (JSONResponse({"observations": []}), "no observation"),
        (JSONResponse([]), "no observation"),
        (Response("never"), "JSONDecodeError"),
        (Response("Request timeout", 408), "408: Request timeout"),
        (Response("Internal server error", 500, {"Retry-After": "0"}), "500: Internal server error"),
        (Response("busy", 503), "503: busy"),
    ],
)
async def test_what_may_have_been_carried_out_is_not_sent_again(
    canned: Canned, opens: Opens, answer: Response, words: str
) -> None:
    url, asked = await canned(answer, observed(""))
    with pytest.raises(ToolFailed, match=words):
        await say(await opens("a", url=url), "x")
    assert len(asked) == 1


async def test_a_server_without_room_is_asked_again_for_as_long_as_there_is_time(
    canned: Canned, opens: Opens
) -> None:
    busy = Response("busy", 503, {"Retry-After": "0"})
    url, asked = await canned(busy, busy, observed("42"), observed(""))
    assert await say(await opens("a", url=url), "x") == ("42", True)
    assert len({str(body) for body in asked[:3]}) == 1
    url, asked = await canned(Response("busy", 503, {"Retry-After": "60"}), observed(""))
    toolbox = await opens("a", url=url, timeout=0.2)
    with pytest.raises(ToolTimeout, match=r"no answer within 0\.2 s"):
        await say(toolbox, "x")
    assert len(asked) == 1


async def test_a_server_that_is_silent_or_absent(canned: Canned, opens: Opens) -> None:
    url, _ = await canned(None, observed(""))
    with pytest.raises(ToolTimeout, match=r"no answer within 0\.2 s"):
        await say(await opens("a", url=url, timeout=0.2), "x")
    with Address(port=0).listen() as listener:
        port = listener.getsockname()[1]
    toolbox = await opens("a", url=f"http://127.0.0.1:{port}")
    with pytest.raises(ToolFailed, match="ConnectError"):
        await say(toolbox, "x")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "localhost:5000"}, "url: http://HOST:PORT"),
        ({"wrap": "<python>"}, "wrap: one {} is needed"),
        ({"timeout": 0}, "timeout must be above 0"),
    ],
)
def test_settings_that_cannot_be_meant(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        toolsets([{"name": "tool_server", **fields}])
