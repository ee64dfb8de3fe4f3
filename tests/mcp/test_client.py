"""MCP servers as tools: under load, when they hang, crash, change, babble or never answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym.checks.leftovers import descendants, no_leftovers
from agentgym.errors import ConfigError, SandboxError, ToolError, ToolFailed, ToolTimeout
from agentgym.mcp.toolset import mcp_toolset
from agentgym.services import Services
from tests.free_port import free_port

from .servers import SERVER, WAYS, episode, program, reachable, until

DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("I hear nothing", file=sys.stderr, flush=True)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


@pytest.mark.parametrize("way", WAYS)
async def test_a_flood_of_calls_is_answered_over_one_connection(way: str) -> None:
    async with reachable(way) as server, no_leftovers(), Services() as services:
        one, other = await asyncio.gather(episode(services, **server), episode(services, **server))
        calls = [(one, other)[number % 2].call("square", number=number) for number in range(256)]
        assert await asyncio.gather(*calls) == [str(number**2) for number in range(256)]
        assert int(await one.call("most_at_once")) > 1
        await one.call("write", note="seen by all")
        assert await other.call("read") == "seen by all"


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_that_hangs_ends_alone_and_the_server_is_told(way: str, tmp_path: Path) -> None:
    late, given_up = tmp_path / "late", tmp_path / "given up"
    async with reachable(way) as server, no_leftovers(), Services() as services:
        patient = await episode(services, **server)
        hasty = await episode(services, timeout=3.0, **server)
        async with asyncio.TaskGroup() as group:
            squares = [group.create_task(patient.call("square", number=number)) for number in range(8)]
            with pytest.raises(ToolTimeout, match=r"'hang'.* gave no answer in 3 s"):
                await hasty.call("hang", file=str(late))
        assert [task.result() for task in squares] == [str(number**2) for number in range(8)]
        await until(lambda: late.exists() and late.read_text() == "cancelled")

        hanging = asyncio.create_task(patient.call("hang", file=str(given_up)))
        await until(given_up.exists)
        hanging.cancel()
        await asyncio.wait({hanging})
        await until(lambda: given_up.read_text() == "cancelled")
        assert await patient.call("square", number=3) == "9"


async def test_a_program_that_crashes_is_started_again(tmp_path: Path) -> None:
    async with reachable("stdio") as server, no_leftovers(), Services() as services:
        played = await episode(services, **server)
        await played.call("write", note="lost")
        in_flight = [asyncio.create_task(played.call("hang", file=str(tmp_path / str(i)))) for i in range(5)]
        await until(lambda: len(list(tmp_path.iterdir())) == 5)
        with pytest.raises(ToolFailed, match="'crash'"):
            await played.call("crash")
        async with asyncio.timeout(60):
            failures = await asyncio.gather(*in_flight, return_exceptions=True)
        assert [type(failure) for failure in failures] == [ToolFailed] * 5
        answers = await asyncio.gather(*(played.call("square", number=number) for number in range(20)))
        assert answers == [str(number**2) for number in range(20)]
        assert await (await episode(services, **server)).call("read") == "no notes"


@pytest.mark.parametrize("era", [(), ("handshake",)], ids=["no sessions", "sessions"])
async def test_a_server_elsewhere_that_crashes_is_met_again(era: tuple[str, ...], tmp_path: Path) -> None:
    port = free_port()
    words = (SERVER, *era, "http", str(port))
    async with Services() as services:
        async with program(port, *words) as process:
            played = await episode(services, url=f"http://127.0.0.1:{port}/mcp")
            in_flight = [asyncio.create_task(played.call("hang", file=str(tmp_path / str(i)))) for i in range(5)]
            await until(lambda: len(list(tmp_path.iterdir())) == 5)
            with pytest.raises(ToolFailed, match="'crash'"):
                await played.call("crash")
            async with asyncio.timeout(60):
                failures = await asyncio.gather(*in_flight, return_exceptions=True)
            assert [type(failure) for failure in failures] == [ToolFailed] * 5
            await process.wait()
        async with program(port, *words):
            answers = await asyncio.gather(*(played.call("square", number=number) for number in range(20)))
            assert answers == [str(number**2) for number in range(20)]
        with pytest.raises(ToolFailed, match=f":{port}/mcp"):
            await played.call("square", number=2)
        with pytest.raises(ToolFailed, match=r"MCP server .*connect"):
            await played.call("square", number=2)


@pytest.mark.parametrize("way", [*WAYS, "stdio handshake"])
async def test_new_episodes_see_tools_that_changed(way: str) -> None:
    async with reachable(way) as server, no_leftovers(), Services() as services:
        before = await episode(services, **server)
        assert "triple" not in before.tools
        await before.call("grow", name="triple")

        async with asyncio.timeout(30):
            after = await episode(services, **server)
            while "triple" not in after.tools:
                await asyncio.sleep(0.02)
                after = await episode(services, **server)
        assert "square" not in after.tools
        assert after.tools["triple"].spec.description == "Grown at run time."
        assert await after.call("triple") == "triple answers"
        with pytest.raises(ToolError, match=r"no tool 'square' any more: .*Known: .*triple"):
            await before.call("square", number=2)


async def test_garbage_on_stdout_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with reachable("stdio") as server, no_leftovers(), Services() as services:
        played = await episode(services, **server)
        squares = [asyncio.create_task(played.call("square", number=number)) for number in range(20)]
        assert await played.call("flood", lines=5000) == "done"
        assert [await square for square in squares] == [str(number**2) for number in range(20)]
    warned = [record.name for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == ["agentgym.mcp.session"]
    assert "writes other things than messages" in caplog.text


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, Any]]:
    """One for tests that leave it as it was."""
    port = free_port()
    with subprocess.Popen([sys.executable, SERVER, "http", str(port)]) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
            time.sleep(0.02)
        yield {"url": f"http://127.0.0.1:{port}/mcp"}
        process.kill()


async def test_answers_of_all_kinds(server: dict[str, Any]) -> None:
    async with Services() as services:
        played = await episode(services, **server)
        with pytest.raises(ToolError, match="fail"):
            await played.call("fail")
        with pytest.raises(ToolError, match="number"):
            await played.call("square", number="many")
        assert await played.call("picture") == "look:\n[image: image/png, 5 bytes]"
        assert await played.call("record") == '{"name": "Ada", "age": 36}'
        assert played.tools["square"].spec.parameters["properties"]["number"]["type"] == "integer"
        assert played.tools["square"].spec.parameters["required"] == ["number"]


async def test_episodes_fork_until_they_may_have_changed_the_server() -> None:
    async with reachable("stdio") as server, Services() as services:
        reader = await episode(services, **server)
        await reader.call("read")
        assert await reader.tools["write"].fork() is reader.tools["write"]
        with pytest.raises(SandboxError, match=r"was forked, and write .*stateless = true"):
            await reader.call("write", note="seen by the fork")
        assert await reader.call("read") == "no notes"

        writer = await episode(services, **server)
        await writer.call("write", note="one")
        with pytest.raises(SandboxError, match=r"write may have changed .*stateless = true"):
            await writer.tools["read"].fork()

        free = await episode(services, stateless=True, **server)
        await free.call("write", note="two")
        assert await free.tools["read"].fork() is free.tools["read"]
        assert await free.call("write", note="three") == "3 notes"

        strict = await episode(services, stateless=False, **server)
        await strict.call("read")
        with pytest.raises(SandboxError, match="read may have changed"):
            await strict.tools["read"].fork()
        ordered = {name: tool.ordered for name, tool in reader.tools.items()}
        assert ordered["write"]
        assert not ordered["read"]


async def test_a_choice_of_tools_under_names_of_their_own(server: dict[str, Any]) -> None:
    async with Services() as services:
        played = await episode(services, tools=["square", "read"], prefix="maths_", **server)
        assert list(played.tools) == ["maths_square", "maths_read"]
        assert await played.call("maths_square", number=5) == "25"
        with pytest.raises(ConfigError, match=r"no tool 'sqare': did you mean 'square'\?"):
            await episode(services, tools=["sqare"], **server)


async def test_a_program_that_never_answers_is_killed(tmp_path: Path) -> None:
    words = {"command": sys.executable, "args": ["-c", DEAF, str(tmp_path / "begun")], "start_timeout": 5.0}
    async with no_leftovers(str(tmp_path)), Services() as services:
        with pytest.raises(ConfigError, match=r"(?s)no answer within 5 s.*I hear nothing"):
            await episode(services, **words)


async def test_a_start_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    deaf = mcp_toolset({"name": "mcp", "command": sys.executable, "args": ["-c", DEAF, str(begun)]})
    async with no_leftovers(str(tmp_path)):
        opening = asyncio.create_task(deaf.server.open())
        await until(begun.exists)
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()


async def test_a_run_that_ends_while_a_server_starts_leaves_nothing_behind() -> None:
    async with no_leftovers(), Services() as services:
        opening = asyncio.create_task(episode(services, command=sys.executable, args=[SERVER]))
        await until(lambda: bool(descendants()))
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()


async def test_a_program_that_cannot_start_says_why() -> None:
    async with no_leftovers(), Services() as services:
        with pytest.raises(ConfigError, match=r"No such file.*no-such-program"):
            await episode(services, command="no-such-program")
        with pytest.raises(ConfigError, match=r"(?s)Connection closed.*ZeroDivisionError: division by zero"):
            await episode(services, command=sys.executable, args=["-c", "1 / 0"])


async def test_calls_after_the_end_of_the_run_fail(server: dict[str, Any]) -> None:
    async with Services() as services:
        played = await episode(services, **server)
    with pytest.raises(ToolFailed, match="closed"):
        await played.call("square", number=1)
