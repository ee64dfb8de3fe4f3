"""How a program can end, seen from outside, and what limits it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket

import pytest

from agentgym.errors import SandboxError
from agentgym.sandboxes.hosting.outputs import OutputLimits
from agentgym.sandboxes.hosting.worker_link import WorkerLink
from agentgym.sandboxes.inside.examine import CHANNEL
from agentgym.sandboxes.inside.fork_server import ForkServer
from agentgym.sandboxes.local import Local

from .leftovers import children


async def status_then_alive(session, code: str, timeout: float = 20.0) -> str:
    """The status of `code`; afterwards the session must work again, with empty state, and say so."""
    await session.run("kept = 1")
    result = await session.run(code, timeout)
    after = await session.run("'kept' in globals()")
    assert (after.stdout, after.restarted) == ("False\n", True)
    assert not (await session.run("1")).restarted
    return result.status


async def begun(session) -> None:
    """Until the session's first run is under way."""
    while session.calls == 0:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)


async def test_an_endless_loop_is_cut_off_and_what_it_printed_is_kept(open_host):
    session = await (await open_host(timeout=0.3)).session()
    result = await session.run("print('so far')\nwhile True: pass")
    assert (result.status, result.stdout) == ("timeout", "so far\n")
    assert (await session.run("1")).restarted


@pytest.mark.parametrize(
    "code",
    [
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.alarm(0)\nwhile True: pass",
        "pow(7, 10**9)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import time; time.monotonic = lambda: 0.0; time.sleep(1000)",
        "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start(); time.sleep(1000)",
    ],
)
async def test_no_program_escapes_the_deadline(open_host, code):
    session = await (await open_host()).session()
    assert await status_then_alive(session, code, timeout=0.3) == "timeout"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit()", "exited"),
        ("import sys; sys.exit('message')", "exited"),
        ("import os; os._exit(0)", "exited"),
        ("raise SystemExit(0)", "exited"),
        ("import os; os.kill(os.getpid(), 9)", "killed"),
        ("import ctypes; ctypes.string_at(0)", "killed"),
        ("import os; os.abort()", "killed"),
        ("x = bytearray(10**10)", "oom"),
        ("x = []\nwhile True: x.append('x' * 10**6 + str(len(x)))", "oom"),
    ],
)
async def test_the_status_says_how_it_ended(open_host, code, status):
    session = await (await open_host(memory_mb=256)).session()
    assert await status_then_alive(session, code) == status


async def test_a_session_that_ends_as_soon_as_it_begins_is_never_missed(open_host):
    host = await open_host()

    async def end() -> str:
        session = await host.session()
        result = await session.run("import os; os._exit(0)", 20.0)
        await session.close()
        return result.status

    alone = [await end() for _ in range(150)]
    together = await asyncio.gather(*(end() for _ in range(150)))
    assert {*alone, *together} == {"exited"}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("code", ["sys.STREAM.write('x' * 50_000_000)", "os.system('yes >&FD')"])
async def test_a_flood_ends_the_session_and_only_the_first_bytes_are_kept(open_host, stream, code):
    session = await (await open_host(output_limit=1000)).session()
    fd = "1" if stream == "stdout" else "2"
    result = await session.run(f"import os, sys\n{code.replace('STREAM', stream).replace('FD', fd)}", 20.0)
    assert result.status == "output_limit"
    assert len(getattr(result, stream)) == 1000
    assert (await session.run("1")).restarted


async def test_all_that_was_written_before_the_end_comes_back(open_host):
    session = await (await open_host(output_limit=1 << 20)).session()
    code = "import fcntl, os\n_ = fcntl.fcntl(FD, fcntl.F_SETPIPE_SZ, 1 << 20), os.write(FD, b'x' * 900_000)"
    assert (await session.run(code.replace("FD", "1"))).stdout == "x" * 900_000
    assert (await session.run(code.replace("FD", "2"))).stderr == "x" * 900_000


async def test_output_at_the_limit_is_no_flood(open_host):
    session = await (await open_host(output_limit=1000)).session()
    result = await session.run("import os; _ = os.write(1, b'x' * 1000)")
    assert (result.status, result.stdout) == ("ok", "x" * 1000)


FORGERIES = {
    "huge": b"\xff\xff\xff\xff",
    "garbage": b"garbage that is no frame at all",
    "broken": b"\0\0\0\x01[",
    "a list": b"\0\0\0\x02[]",
    "no nonce": b'\0\0\0\x10{"status": "ok"}',
    "wrong nonce": b'\0\0\0\x24{"nonce": "guess!!!", "status": "ok"}',
    "nested": (100_000).to_bytes(4, "big") + b"[" * 100_000,
    "not utf-8": b"\0\0\0\x02\xff\xfe",
}


async def test_whatever_is_forged_on_the_result_channel_ends_the_session(open_host):
    session = await (await open_host()).session()
    for name, frame in FORGERIES.items():
        code = f"import os, time\nos.write({CHANNEL}, {frame!r})\ntime.sleep(1000)"
        assert await status_then_alive(session, code) == "killed", name


async def test_a_forked_child_does_not_answer_in_its_parents_place(open_host):
    session = await (await open_host()).session()
    result = await session.run(
        "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('child' if pid == 0 else 'parent')"
    )
    assert (result.status, sorted(result.stdout.split())) == ("ok", ["child", "parent"])
    assert (await session.run("pid > 0")).stdout == "True\n"


async def test_a_cancelled_run_ends_the_program(open_host):
    session = await (await open_host()).session()
    running = asyncio.ensure_future(session.run("kept = 1\nwhile True: pass", 60.0))
    await begun(session)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    result = await session.run("'kept' in globals()")
    assert (result.stdout, result.restarted) == ("False\n", True)


async def test_closing_ends_a_run_in_flight(open_host):
    session = await (await open_host()).session()
    running = asyncio.ensure_future(session.run("while True: pass", 60.0))
    await begun(session)
    await session.close()
    assert (await running).status == "killed"


async def test_a_dead_fork_server_is_an_error_of_the_sandbox_and_the_next_session_has_a_new_one(open_host):
    host = await open_host()
    busy, idle = await host.session(), await host.session()
    running = asyncio.ensure_future(busy.run("while True: pass", 60.0))
    await begun(busy)
    os.kill(host._server.process.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match="fork server"):
        await running
    with pytest.raises(SandboxError, match="fork server"):
        await idle.run("1")
    assert (await (await host.session()).run("1 + 1")).stdout == "2\n"


async def test_all_sessions_in_flight_tell_that_the_fork_server_died(open_host):
    host = await open_host()
    sessions = [await host.session() for _ in range(8)]
    running = [asyncio.ensure_future(session.run("while True: pass", 60.0)) for session in sessions]
    for session in sessions:
        await begun(session)
    os.kill(host._server.process.pid, signal.SIGKILL)
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert [type(error) for error in ended] == [SandboxError] * 8


async def test_forks_under_way_tell_that_the_fork_server_died(walls):
    for rounds in range(5):
        host = await Local(preload=()).open()
        sessions = [await host.session() for _ in range(8)]
        forks = [asyncio.ensure_future(session.fork()) for session in sessions]
        for _ in range(rounds):
            await asyncio.sleep(0)
        [server] = children(host._server.process.pid)[:1]
        os.kill(server, signal.SIGKILL)
        ended = await asyncio.gather(*forks, return_exceptions=True)
        assert [type(error) for error in ended] == [SandboxError] * 8
        await host.close()


async def test_a_session_that_can_have_no_process_ends_with_the_reason():
    """As where the limit of processes is met: the fork server lives on, and there is nobody whose end it sees."""

    class Full:
        def start(self, *_):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    host, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = ForkServer.__new__(ForkServer)
    server.config, server.control, server.keepers = {"namespaces": True, "directory": "/"}, control, Full()
    server.started = 0

    class Link:
        def spawn(self, descriptors):
            socket.send_fds(host, [b"{}"], descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            server.obey()

        async def last_words(self):
            await asyncio.Event().wait()

    with host, control, pytest.raises(SandboxError, match="no keeper can be started: Resource temporarily unav"):
        await asyncio.wait_for(WorkerLink.start(Link(), OutputLimits(1000, 1000), None), 20)


async def test_a_host_ends_its_fork_server_also_where_a_session_cannot_be_closed(monkeypatch):
    host = await Local(allow_weak=True, preload=()).open()
    session = await host.session()
    server = host._server

    async def fail() -> None:
        raise SandboxError("a sandbox session is not dead")

    monkeypatch.setattr(session, "close", fail)
    with pytest.raises(SandboxError, match="is not dead"):
        await host.close()
    assert server.dead
    assert await server.process.wait() is not None


async def test_a_bad_preload_is_reported_with_the_servers_own_words(mode):
    with pytest.raises(SandboxError, match="No module named 'no_such_module'"):
        await Local(allow_weak=mode == "none", preload=("no_such_module",)).open()


async def test_preloaded_modules_are_there_already(open_host):
    session = await (await open_host(preload=("fractions",))).session()
    assert (await session.run("import sys; 'fractions' in sys.modules")).stdout == "True\n"
