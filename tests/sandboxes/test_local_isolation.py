"""What a session cannot reach, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest

from agentgym.errors import SandboxError
from agentgym.sandboxes.hosting import fork_server_link
from agentgym.sandboxes.local import Local

from .leftovers import below

DAEMON = """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp('sh', ['sh', '-c', 'sleep 1000; : MARK'])
    os._exit(0)
_ = os.wait()
"""
"""Leaves a process that has left its session, its process group and its parent."""


def pids_with(mark: str) -> list[int]:
    """Processes with `mark` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, UnicodeDecodeError):
            continue
    return found


async def daemon_in(session) -> str:
    """Start a daemon in the session; its mark, once it runs."""
    mark = str(uuid4().int)
    assert (await session.run(DAEMON.replace("MARK", mark))).status == "ok"
    while not pids_with(mark):
        await session.run("1")
    return mark


async def test_a_daemon_dies_with_its_session(open_host):
    host = await open_host()
    session, other = await host.session(), await host.session()
    mark, others = await daemon_in(session), await daemon_in(other)
    await session.close()
    assert not pids_with(mark)
    assert pids_with(others)
    await host.close()
    assert not pids_with(others)


@pytest.mark.parametrize(
    "code", ["while True: pass", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"]
)
async def test_a_daemon_dies_when_its_session_is_lost(open_host, code):
    session = await (await open_host()).session()
    mark = await daemon_in(session)
    await session.run(code, 0.3)
    assert not pids_with(mark)


@pytest.mark.parametrize("stuck", [False, True])
async def test_closing_the_host_leaves_no_process_descriptor_or_file(mode, tmp_path, monkeypatch, stuck):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fork_server_link, "STOP_SECONDS", 0.2 if stuck else 60.0)
    gc.collect()  # what others left is not closed meanwhile
    before = set(os.listdir("/proc/self/fd"))
    host = await Local(preload=(), allow_weak=mode == "none").open()
    session = await host.session()
    await session.run(
        "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\nos.chmod('a/b', 0)\nos.chmod('.', 0)"
    )
    idle = await host.session()
    server = host._server.process.pid
    handles = []
    for pid in (server, *below(server)):
        with contextlib.suppress(ProcessLookupError):  # a helper that was over by then
            handles.append(os.pidfd_open(pid))
    if stuck:
        await asyncio.gather(session.close(), idle.close())
        os.kill(next(below(server)) if mode == "bubblewrap" else server, signal.SIGSTOP)
    await host.close()
    for handle in handles:
        assert select.select([handle], [], [], 20)[0], "a process outlived its host"
        os.close(handle)
    assert list(tmp_path.iterdir()) == []
    assert set(os.listdir("/proc/self/fd")) == before
    await idle.close()


HOST = """
import asyncio, sys
from agentgym.sandboxes.local import Local

async def main():
    host = await Local(preload=(), allow_weak=sys.argv[1] == "none").open()
    session = await host.session()
    await session.run(sys.argv[2])
    print(host._server.process.pid, flush=True)
    await session.run('while True: pass', 1000)

asyncio.run(main())
"""


def test_a_host_killed_hard_leaves_nothing(mode, tmp_path):
    mark = str(uuid4().int)
    code = f"import subprocess\n_ = subprocess.Popen(['sh', '-c', 'sleep 1000; : {mark}'], start_new_session=True)"
    words = [sys.executable, "-c", HOST, mode, code]
    host = subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert host.stdout is not None
    server = int(host.stdout.readline())
    handles = [os.pidfd_open(pid) for pid in (server, *(set(pids_with(mark)) - {host.pid}))]
    assert len(handles) >= 2
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdout.close()
    for handle in handles:
        assert select.select([handle], [], [], 20)[0], "a process outlived its host"
        os.close(handle)
    assert list(tmp_path.iterdir()) == []


async def test_without_walls_nothing_runs_unless_that_is_allowed(no_walls, monkeypatch):
    monkeypatch.delenv("AGENTGYM_ALLOW_WEAK", raising=False)
    with pytest.raises(SandboxError, match="allow_weak=true"):
        await Local().open()
    host = await Local(allow_weak=True).open()
    assert host.mode == "none"
    await host.close()


async def test_protections_name_what_a_weak_sandbox_lacks(no_walls):
    rows = {row.name: row for row in await Local(allow_weak=True).protections()}
    lacking = {"processes", "network", "files", "privileges", "system calls", "fork", "disk"}
    assert lacking <= {name for name, row in rows.items() if not row.holds}


@pytest.fixture
async def inside(walls):
    """A session under bubblewrap."""
    host = await Local(preload=(), processes=8, disk_mb=1).open()
    yield await host.session()
    await host.close()


async def test_there_is_no_network_and_no_other_process(inside):
    connect = """
import socket
try: socket.create_connection(('127.0.0.1', 22), 1)
except OSError as error: print(error.strerror)
"""
    assert (await inside.run(connect)).stdout == "Operation not permitted\n"
    interfaces = "import os; os.path.exists('/sys/class/net'), open('/proc/net/dev').read().count(':')"
    assert (await inside.run(interfaces)).stdout == "(False, 1)\n"
    assert (
        await inside.run("import os; sorted(int(p) for p in os.listdir('/proc') if p.isdigit())")
    ).stdout == "[1, 2]\n"


async def test_only_the_workspace_is_writable_and_no_file_of_the_user_is_in_sight(inside):
    assert (await inside.run(f"import os; os.path.exists({__file__!r})")).stdout == "False\n"
    find = """
found = []
for folder, below, _ in os.walk('/'):
    below[:] = [] if folder.count('/') > 2 else [b for b in below if b != 'proc']
    found += [folder] if os.access(folder, os.W_OK) else []
found"""
    writable = set(eval((await inside.run(find)).stdout))
    assert "/workspace" in writable
    assert writable <= {"/workspace", "/tmp", "/dev/shm"}
    assert (await inside.run("os.getcwd()")).stdout == "'/workspace'\n"


async def test_the_workspace_is_bounded(inside):
    code = """
try:
    for i in range(9): open(f'f{i}', 'wb').write(bytes(300_000))
except OSError as error: print(error.strerror)
"""
    assert (await inside.run(code)).stdout == "No space left on device\n"


async def test_a_fork_bomb_stays_small_and_the_session_lives(inside):
    bomb = """
import os, time
children = []
try:
    while True:
        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
        children.append(pid)
except BlockingIOError:
    print(len(children))
"""
    assert (await inside.run(bomb)).stdout == "7\n"
    await inside.run("import signal\nfor pid in children: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)")
    assert (await inside.run("pid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)[1]")).stdout == "0\n"


async def test_a_session_has_no_privilege_and_cannot_get_any(inside):
    await inside.run("status = dict(line.split(':', 1) for line in open('/proc/self/status'))")
    keys = "[status[k].strip() for k in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'NoNewPrivs')]"
    assert (await inside.run(keys)).stdout == f"{['0' * 16] * 4 + ['1']}\n"
    assert (await inside.run("import os; 0 in (*os.getresuid(), *os.getresgid())")).stdout == "False\n"
    nested = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.unshare(0x10000000), ctypes.get_errno()"
    )
    assert (await inside.run(nested)).stdout.startswith("(-1, ")
    assert (await inside.run("libc.ptrace(16, 1, 0, 0)")).stdout == "-1\n"


async def test_it_cannot_kill_its_supervisor(inside):
    await inside.run("import os\nkept = 1\nos.kill(1, 9)")
    assert (await inside.run("kept")).stdout == "1\n"
