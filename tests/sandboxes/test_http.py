"""Sessions on another machine, as their client sees them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agentgym.check import check_sandbox
from agentgym.errors import ConfigError, SandboxError
from agentgym.sandboxes.http import Http
from agentgym.sandboxes.local import Local
from agentgym.sandboxes.serving.server import running
from agentgym.sandboxes.serving.settings import Serve

from .served import BARE, Raw, waits_for
from .test_local_isolation import DAEMON, pids_with

ODD = str(Path(__file__).with_name("odd_sandboxes.py"))
pytestmark = pytest.mark.usefixtures("no_walls")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Http]]:
    """`agentgym serve` in a process of its own, and a client of it."""
    token = tmp_path / "token"
    token.write_text("secret")
    words = ["serve", "port=0", f"token_file={token}", "sandbox.allow_weak=true", "sandbox.preload=[]"]
    words = [sys.executable, "-m", "agentgym", *words]
    environment = {**os.environ, "PATH": os.defpath}
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, env=environment, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving at http://127.0.0.1:")
    yield process, Http(line.split()[-1], token_file=str(token))
    process.kill()
    process.communicate()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def url(stack: AsyncExitStack) -> str:
    """A server over the local sandbox."""
    return await stack.enter_async_context(running(Serve(sandbox=BARE, port=0)))


async def opened(stack: AsyncExitStack, config: Any) -> Any:
    """Its host, which is closed with the stack."""
    host = await config.open()
    stack.push_async_callback(host.close)
    return host


async def begun(raw: Raw) -> None:
    """Until a call runs."""
    await raw.until("running", 1)


@pytest.fixture
async def raw(stack: AsyncExitStack, url: str) -> Raw:
    raw = Raw(url)
    stack.push_async_callback(raw.http.aclose)
    return raw


async def test_it_keeps_what_a_sandbox_promises(command: tuple[subprocess.Popen[str], Http]) -> None:
    results = await check_sandbox(command[1])
    assert [result for result in results if not result.ok] == []


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_server_leaves_no_process(command: tuple[subprocess.Popen[str], Http], name: int) -> None:
    process, config = command
    host = await config.open()
    session, mark = await host.session(), str(uuid4().int)
    await session.run(DAEMON.replace("MARK", mark))
    while not pids_with(mark):
        await session.run("1")
    process.send_signal(name)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert not pids_with(mark)
    await host.close()


async def test_errors_are_those_of_the_sandbox_itself(stack: AsyncExitStack, url: str, tmp_path: Path) -> None:
    hosts = [await opened(stack, Local(allow_weak=True, preload=())), await opened(stack, Http(url))]
    here, there = [await host.session() for host in hosts]
    calls = [
        lambda session: session.read("nothing"),
        lambda session: session.read("."),
        lambda session: session.write(".", b"1"),
        lambda session: session.write("large", bytes(5 << 20)),
        lambda session: session.fork(),
    ]
    for session in (here, there):  # without walls a fork is a replay, and this one goes otherwise
        await session.run(f"_ = open({str(tmp_path / uuid4().hex)!r}, 'x')")
    for call in calls:
        with pytest.raises((OSError, SandboxError)) as expected:
            await call(here)
        with pytest.raises(type(expected.value)) as found:
            await call(there)
        assert str(found.value) == str(expected.value)
    assert (await there.run("1 + 1")).stdout == "2\n"


async def test_any_path_and_any_bytes_go_through(stack: AsyncExitStack, url: str) -> None:
    session = await (await opened(stack, Http(url))).session()
    data = bytes(range(256)) * 100
    for path in ("a b/ü?&=#%2F.bin", "..%2e", "x/../y"):
        await session.write(path, data)
        assert await session.read(path) == data
    assert "y" in (await session.run("import os; os.listdir()")).stdout
    with pytest.raises(OSError, match="File too large"):
        await session.write("huge", bytes(9 << 20))
    with pytest.raises(SandboxError, match="a program of"):
        await session.run("#" * (9 << 20))


async def test_a_busy_server_is_asked_again(stack: AsyncExitStack) -> None:
    url = await stack.enter_async_context(running(Serve(sandbox=BARE, port=0, max_sessions=1)))
    raw, host = Raw(url), await opened(stack, Http(url))
    stack.push_async_callback(raw.http.aclose)
    first = await host.session()
    second = asyncio.create_task(host.session())
    await raw.until("refusals_total", 1)
    await first.close()
    assert (await (await second).run("1 + 1")).stdout == "2\n"


async def test_a_server_that_stays_busy_is_an_error_that_says_so(stack: AsyncExitStack) -> None:
    url = await stack.enter_async_context(running(Serve(sandbox=BARE, port=0, max_sessions=1)))
    host = await opened(stack, Http(url, patience=3.0))
    await host.session()
    with pytest.raises(SandboxError, match=r"within 3 s: 1 sessions are open, the most this server allows"):
        await host.session()


async def test_waiting_for_a_connection_of_ours_is_not_the_servers_fault(
    stack: AsyncExitStack, url: str, raw: Raw, tmp_path: Path
) -> None:
    """However many calls wait, each is patient from when it is sent."""
    host = await opened(stack, Http(url, max_connections=1, patience=1.0))
    one, two = await host.session(), await host.session()
    first = asyncio.create_task(one.run(waits_for(tmp_path / "go"), timeout=30.0))
    await begun(raw)
    second = asyncio.create_task(two.run("1 + 1", timeout=0.2))
    await asyncio.wait({second}, timeout=1.5)
    (tmp_path / "go").touch()
    assert [(await each).status for each in (first, second)] == ["ok", "ok"]


async def test_who_waits_for_room_is_not_in_the_way_of_who_makes_it(stack: AsyncExitStack) -> None:
    url = await stack.enter_async_context(running(Serve(sandbox=BARE, port=0, max_sessions=2)))
    host = await opened(stack, Http(url, max_connections=2))

    async def episode(number: int) -> str:
        session = await host.session()
        result = await session.run(f"print({number})")
        await session.close()
        return str(result.stdout)

    assert await asyncio.gather(*map(episode, range(12))) == [f"{number}\n" for number in range(12)]


async def test_an_answer_lost_on_the_way_is_asked_for_again_and_the_program_runs_once(
    stack: AsyncExitStack, url: str
) -> None:
    lost = 0

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on; its answer back, but for the first of a program."""
        nonlocal lost
        host, port = url.removeprefix("http://").split(":")
        from_server, to_server = await asyncio.open_connection(host, int(port))
        head = await reader.readuntil(b"\r\n\r\n")
        [size] = [
            int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        ] or [0]
        to_server.write(head + await reader.readexactly(size))
        answer = await from_server.readuntil(b"\r\n\r\n")
        if b"/run " in head.split(b"\r\n")[0] and lost < 2:
            lost += 1
        else:
            body = b"" if b" 204 " in answer else await from_server.read(1 << 16)
            writer.write(answer + body)
            await writer.drain()
        for stream in (writer, to_server):
            stream.close()
            await stream.wait_closed()

    proxy = await stack.enter_async_context(await asyncio.start_server(forward, "127.0.0.1", 0))
    host = await opened(stack, Http(f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"))
    session = await host.session()
    result = await session.run("n = globals().get('n', 0) + 1\nprint(n)")
    assert (result.stdout, lost, session.calls) == ("1\n", 2, 1)


async def test_a_cancelled_run_ends_the_program(stack: AsyncExitStack, url: str, raw: Raw) -> None:
    session = await (await opened(stack, Http(url))).session()
    call = asyncio.create_task(session.run("kept = 1\nwhile True: pass", 60.0))
    await begun(raw)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await raw.metric("running") == 0
    result = await session.run("'kept' in globals()")
    assert (result.stdout, result.restarted) == ("False\n", True)


async def test_a_cancelled_opening_leaves_no_session(stack: AsyncExitStack, raw: Raw, url: str) -> None:
    host = await opened(stack, Http(url))
    opening = asyncio.create_task(host.session())
    await raw.until("sessions", 1)
    opening.cancel()
    await asyncio.wait({opening})
    if not opening.cancelled():
        await opening.result().close()
    assert await raw.metric("sessions") == 0


async def test_leases_are_renewed_while_the_host_is_open(
    stack: AsyncExitStack, url: str, raw: Raw, tmp_path: Path
) -> None:
    session = await (await opened(stack, Http(url, lease=2.0))).session()
    await session.run("x = 1")
    busy = asyncio.create_task(session.run(waits_for(tmp_path / "go"), 60.0))
    await raw.open(lease=6.0)
    await raw.until("expired_total", 1)
    (tmp_path / "go").touch()
    assert (await busy).status == "ok"
    assert (await session.run("x")).stdout == "1\n"


async def test_a_client_that_is_gone_loses_its_sessions(url: str, raw: Raw) -> None:
    host = await Http(url, lease=3.0).open()
    session, mark = await host.session(), str(uuid4().int)
    await session.run(DAEMON.replace("MARK", mark))
    while not pids_with(mark):
        await session.run("1")
    assert host._heart is not None
    host._heart.cancel()
    await raw.until("expired_total", 1)
    await raw.until("sessions", 0)
    assert not pids_with(mark)
    for _ in range(2):
        with pytest.raises(SandboxError, match="its lease ran out"):
            await session.run("1")
    with pytest.raises(SandboxError, match="its lease ran out"):
        await session.fork()
    await host.close()


async def test_a_session_of_a_server_that_was_restarted_is_lost_and_the_next_is_new(stack: AsyncExitStack) -> None:
    async with running(Serve(sandbox=BARE, port=0)) as url:
        host = await opened(stack, Http(url, timeout=3.0, patience=3.0))
        session = await host.session()
        await session.run("x = 1")
    with pytest.raises(SandboxError, match="did not answer"):
        await session.run("x")
    async with running(Serve(sandbox=BARE, port=int(url.rpartition(":")[2]))):
        for _ in range(2):
            with pytest.raises(SandboxError, match=r"is not on this server: .* the server was restarted"):
                await session.run("x")
        assert (await (await host.session()).run("'x' in globals()")).stdout == "False\n"


async def test_a_client_waits_for_a_server_that_is_starting(stack: AsyncExitStack) -> None:
    async with running(Serve(sandbox=BARE, port=0)) as url:
        host = await opened(stack, Http(url))
    opening = asyncio.create_task(host.session())
    await asyncio.sleep(0)
    async with running(Serve(sandbox=BARE, port=int(url.rpartition(":")[2]))):
        assert (await (await opening).run("1 + 1")).stdout == "2\n"
        await host.close()


async def test_opening_says_what_is_wrong(stack: AsyncExitStack) -> None:
    serve = Serve(sandbox=BARE, port=0, token="secret", max_lease=30.0)
    url = await stack.enter_async_context(running(serve))
    with pytest.raises(SandboxError, match="this server wants its token"):
        await Http(url, lease=9).open()
    with pytest.raises(SandboxError, match=r"lease=120, but http://.* allows 30 s"):
        await Http(url, token="secret").open()
    with pytest.raises(SandboxError, match=r"did not answer GET /v1 within 0\.2 s"):
        await Http("http://127.0.0.1:9", patience=0.2).open()
    await opened(stack, Http(url, token="secret", lease=9))
    assert "secret" not in repr(serve) + repr(Http(url, token="secret"))


async def test_a_server_of_another_kind_is_told_from_ours(stack: AsyncExitStack) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        writer.close()
        await writer.wait_closed()

    server = await stack.enter_async_context(await asyncio.start_server(greet, "127.0.0.1", 0))
    with pytest.raises(SandboxError, match="is no sandbox server of agentgym"):
        await Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}").open()


async def test_protections_are_the_servers(stack: AsyncExitStack, tmp_path: Path) -> None:
    sandbox = {"name": f"{ODD}:Odd", "broken": str(tmp_path / "broken")}
    url = await stack.enter_async_context(running(Serve(sandbox=sandbox, port=0)))
    found = [(row.name, row.holds, row.detail) for row in await Http(url).protections()]
    assert found == [("walls", True, "thick"), ("network", False, "open")]


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentgym.serving.token import find_token

    file = tmp_path / "token"
    file.write_text("from file\n")
    monkeypatch.setenv("TOKEN", "from variable")
    assert find_token("itself", "", "") == "itself"
    assert find_token("", "TOKEN", "") == "from variable"
    assert find_token("", "", str(file)) == "from file"
    assert find_token("", "", "") == ""
    for wrong, text in [(("a", "TOKEN", ""), "one token"), (("", "NONE", ""), "no token in it")]:
        with pytest.raises(ConfigError, match=text):
            find_token(*wrong)
    with pytest.raises(ConfigError, match="No such file"):
        find_token("", "", os.fspath(tmp_path / "nothing"))


@pytest.mark.parametrize("url", ["localhost:8811", "ftp://host", "http://", "http://host?x=1"])
def test_a_url_is_needed(url: str) -> None:
    with pytest.raises(ValueError, match="url: http://HOST:PORT"):
        Http(url)
