"""Our tools, as the official client sees them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from agentgym.checks.leftovers import descendants, no_leftovers
from agentgym.errors import ConfigError
from agentgym.mcp.serve import serve_mcp
from agentgym.mcp.settings import ServeMcp
from agentgym.tooling.toolbox import Toolbox
from tests.free_port import free_port

from .servers import program, until

ROOT = str(Path(__file__).parents[2])
SERVER = str(Path(__file__).with_name("our_server.py"))
ENV = {"PYTHONPATH": ROOT}
Say = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


@asynccontextmanager
async def clients(transport: str, count: int) -> AsyncIterator[list[Client]]:
    """So many sessions; over HTTP with one server, over stdio with one each."""
    async with AsyncExitStack() as stack:
        if transport == "stdio":
            servers = [StdioServerParameters(command=sys.executable, args=[SERVER], env=ENV) for _ in range(count)]
            yield [await stack.enter_async_context(Client(server)) for server in servers]
        else:
            port = free_port()
            await stack.enter_async_context(program(port, SERVER, str(port)))
            yield [await stack.enter_async_context(Client(f"http://127.0.0.1:{port}/mcp")) for _ in range(count)]


async def call(client: Client, tool: str, text: str) -> tuple[str, bool]:
    """The text of the answer, and whether it is an error."""
    result = await client.call_tool(tool, {"code" if tool == "python" else "text": text})
    return result.content[0].text, bool(result.is_error)


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_state_belongs_to_the_client(transport: str) -> None:
    async with no_leftovers(SERVER), clients(transport, 2) as (one, other):
        listed = {tool.name: tool for tool in (await one.list_tools()).tools}
        assert sorted(listed) == ["diary", "python", "trouble"]
        assert listed["diary"].description == "Add a line."
        assert listed["python"].input_schema["required"] == ["code"]

        assert await call(one, "python", "word = 'mine'") == ("(no output)", False)
        assert await call(one, "python", "print(word)") == ("mine", False)
        text, is_error = await call(other, "python", "print(word)")
        assert (text.splitlines()[-1], is_error) == ("NameError: name 'word' is not defined", False)

        lines = [f"{number}" for number in range(20)]
        await asyncio.gather(*(call(one, "diary", line) for line in lines))
        assert sorted((await call(one, "diary", "end"))[0].split()) == sorted([*lines, "end"])
        assert await call(other, "diary", "alone") == ("alone", False)


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_failures_are_told_as_the_tool_s_errors(transport: str) -> None:
    async with clients(transport, 1) as (client,):
        assert await call(client, "trouble", "refuse") == ("Error: seven is no vowel", True)
        text, is_error = await call(client, "trouble", "break")
        assert is_error
        assert "ZeroDivisionError: the tool is broken" in text
        text, is_error = await call(client, "trouble", "hang")
        assert is_error
        assert "no answer within 0.2 s" in text
        text, is_error = await call(client, "pyton", "1")
        assert is_error
        assert "did you mean 'python'?" in text
        assert await call(client, "trouble", "print") == ("printed", False)  # and not into the pipe of messages
        assert await call(client, "diary", "still here") == ("still here", False)


async def test_a_session_that_ends_takes_its_sandbox_along() -> None:
    port = free_port()
    async with program(port, SERVER, str(port)):
        url = f"http://127.0.0.1:{port}/mcp"
        async with Client(url) as host:  # the fork server of the sandbox stays
            await call(host, "python", "1")
            before = len(descendants())
            async with Client(url) as client:
                await call(client, "python", "1")
                assert len(descendants()) > before
            await until(lambda: len(descendants()) <= before)


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
async def test_a_signal_ends_the_server_though_its_stdin_is_open(number: signal.Signals) -> None:
    info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    wish = {"name": "python", "arguments": {"code": "print(6 * 7)"}}
    async with no_leftovers(SERVER), raw_server() as (process, say):
        assert (await say("initialize", info))["serverInfo"]["name"] == "agentgym"
        assert (await say("tools/call", wish))["content"][0]["text"] == "42"
        process.send_signal(number)
        async with asyncio.timeout(30):
            assert await process.wait() == 0


@SIGNALS
async def test_a_signal_ends_the_server_at_an_address(number: signal.Signals) -> None:
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}/mcp")
    async with no_leftovers(SERVER), program(port, SERVER, str(port)) as process, client:
        await call(client, "python", "1")
        process.send_signal(number)
        async with asyncio.timeout(30):
            assert await process.wait() == 0


@asynccontextmanager
async def raw_server() -> AsyncIterator[tuple[asyncio.subprocess.Process, Say]]:
    """A server over stdio without a client, and what asks it something."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, SERVER, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    reads, writes = process.stdout, process.stdin

    async def say(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": method, "method": method, "params": parameters}
        writes.write(json.dumps(message).encode() + b"\n")
        answer = json.loads(await reads.readline())
        assert answer["id"] == method
        return dict(answer["result"])

    try:
        yield process, say
    finally:
        if process.returncode is None:
            process.kill()
        writes.close()
        await process.wait()


async def test_who_does_not_show_the_token_stays_out(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("AGENTGYM_TOKEN", "open sesame")
    async with program(port, SERVER, str(port)):
        url = f"http://127.0.0.1:{port}/mcp"
        for headers in ({}, {"Authorization": "Bearer open barley"}):
            async with httpx2.AsyncClient(headers=headers) as http:
                answer = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert answer.status_code == 401
        knows = httpx2.AsyncClient(headers={"Authorization": "Bearer open sesame"})
        async with knows, Client(streamable_http_client(url, http_client=knows)) as client:
            assert await call(client, "diary", "inside") == ("inside", False)


async def test_beyond_this_machine_a_token_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 can be reached from other machines.*token"):
        await serve_mcp(partial(Toolbox.open, []), ServeMcp(port=0, host="0.0.0.0"), print)
    assert "AGENTGYM_TOKEN" not in os.environ
