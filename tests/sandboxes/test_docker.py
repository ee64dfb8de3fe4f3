"""Sessions in containers: what the daemon says of them, how they end, and that none stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from agentgym.checks.harness import Check, run_checks
from agentgym.checks.sandbox import CHECKS
from agentgym.errors import SandboxError
from agentgym.sandboxes.containers import container
from agentgym.sandboxes.containers import session as docker_session
from agentgym.sandboxes.containers.owner import LABEL, owner
from agentgym.sandboxes.docker import Docker


@pytest.fixture
async def open_host(image: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens hosts, and closes them."""
    hosts = []

    async def opened(**fields: Any) -> Any:
        hosts.append(await Docker(image=image, **{"pool": 0, **fields}).open())
        return hosts[-1]

    yield opened
    for host in hosts:
        await host.close()


def containers_of(client: Any, pid: int) -> list[Any]:
    """Containers that serve a process."""
    return client.containers.list(all=True, filters={"label": f"{LABEL}={owner(pid)}"})


async def begun(session: Any) -> None:
    """Until the session's next run is under way inside."""
    while session.calls == 0:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_the_contract_holds(image: str, check: Check) -> None:
    [result] = await run_checks(Docker(image=image, pool=1), [check], 60.0)
    assert result.ok, result.detail


async def test_the_daemon_confirms_every_wall(open_host, client):
    host = await open_host(memory_mb=100, disk_mb=20, processes=30, cpus=0.5)
    session = await host.session()
    seen = client.api.inspect_container(session.container.id)
    limits = seen["HostConfig"]
    assert limits["NetworkMode"] == "none"
    assert limits["ReadonlyRootfs"]
    assert limits["AutoRemove"]
    assert limits["CapDrop"] == ["ALL"]
    assert not limits["Privileged"]
    assert "no-new-privileges" in limits["SecurityOpt"]
    assert any(option.startswith("seccomp={") and "io_uring_setup" in option for option in limits["SecurityOpt"])
    assert limits["Memory"] == limits["MemorySwap"] == (100 + 20 + container.AGENT_MB) << 20
    assert limits["PidsLimit"] == 30 + container.AGENT_PROCESSES
    assert limits["NanoCpus"] == 500_000_000
    assert not limits["Binds"]
    assert seen["Config"]["User"] == "65534:65534"
    assert seen["Config"]["Labels"][LABEL] == owner(os.getpid())


async def test_protections_are_found_by_trying(image):
    rows = {row.name: row for row in await Docker(image=image, pool=0).protections()}
    assert {name for name, row in rows.items() if not row.holds} <= {"kernel", "memory", "process count", "cpu"}
    assert {"processes", "network", "files", "privileges", "system calls", "disk", "output"} <= rows.keys()
    assert rows["files"].detail == "writable: the workspace only"


REFUSED = {
    "keyctl": 250,
    "bpf": 321,
    "perf_event_open": 298,
    "io_uring_setup": 425,
    "ptrace": 101,
    "userfaultfd": 323,
}
CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall({}, 0, 0, 0, 0, 0, 0), ctypes.get_errno())
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
async def test_system_calls_that_nobody_needs_are_refused_to_the_agent_as_well(open_host, client):
    session = await (await open_host()).session()
    for name, number in REFUSED.items():
        assert (await session.run(CALL.format(number))).stdout == "-1 1\n", name
        command = client.api.exec_create(session.container.id, ["python3", "-c", CALL.format(number)])
        assert client.api.exec_start(command["Id"]) == b"-1 1\n", name


async def test_forks_share_a_container_and_episodes_do_not(open_host, client):
    host = await open_host(pool=1)
    one, other = await host.session(), await host.session()
    twin = await one.fork()
    assert one.container is twin.container
    assert one.container is not other.container
    used = one.container.id
    await one.close()
    assert (await twin.run("1")).stdout == "1\n"
    await twin.close()
    assert used not in [found.id for found in containers_of(client, os.getpid())]
    assert (await host.session()).container.id not in (used, other.container.id)


async def test_programs_of_other_languages_run_in_the_sessions_folder(open_host):
    session = await (await open_host()).session()
    await session.run("import os\nos.mkdir('below')\nos.chdir('below')\nopen('in', 'w').write('7')")
    assert (await session.run("echo $(cat in)$(cat in); exec 1>&-", language="bash")).stdout == "77\n"
    result = await session.run("console.log(require('fs').readFileSync('in') * 6)", language="node")
    assert (result.stdout, result.status) == ("42\n", "ok")
    failed = await session.run("echo gone >&2; exit 3", language="bash")
    assert (failed.stderr, failed.status) == ("gone\n", "error")
    assert (await session.run("while :; do :; done", 0.5, language="bash")).status == "timeout"
    with pytest.raises(SandboxError, match="unknown language 'ruby'; there are python, bash, node"):
        await session.run("1", language="ruby")


async def test_the_limit_of_output_is_that_of_the_call(open_host):
    session = await (await open_host(output_limit=10)).session()
    assert (await session.run("print('x' * 99_999)", output_limit=100_000)).stdout == "x" * 99_999 + "\n"
    result = await session.run("print('\\0' * 99_999)")
    assert (result.stdout, result.status) == ("\0" * 10, "output_limit")


async def test_files_that_are_not_there_are_told_apart_from_failures(open_host):
    session = await (await open_host(file_limit=1000)).session()
    with pytest.raises(FileNotFoundError):
        await session.read("nothing")
    with pytest.raises(OSError, match="a file may have 1000"):
        await session.write("big", b"x" * 1001)
    await session.write("a/b", bytes(1000))
    assert await session.read("a/b") == bytes(1000)


HUNGRY = """
import os, time
def child():
    if os.fork() == 0:
        held = bytearray(60 << 20)
        time.sleep(1000)
for _ in range(4): child()
held = bytearray(120 << 20)
while True:
    for i in range(0, len(held), 4096): held[i] = 1
"""


async def test_a_program_that_the_kernel_killed_for_memory_is_out_of_memory(open_host):
    session = await (await open_host(memory_mb=160, disk_mb=1)).session()
    await session.run("kept = 1")
    assert (await session.run(HUNGRY, 20.0)).status == "oom"
    after = await session.run("'kept' in globals()")
    assert (after.stdout, after.restarted) == ("False\n", True)


async def test_a_killed_container_is_a_failure_of_the_sandbox_and_the_next_session_works(open_host, client):
    host = await open_host(pool=1)
    busy = await host.session()
    idle = await busy.fork()
    running = asyncio.ensure_future(busy.run("while True: pass", 60.0))
    await begun(busy)
    client.api.kill(busy.container.id)
    with pytest.raises(SandboxError, match="container"):
        await running
    with pytest.raises(SandboxError, match="container"):
        await idle.run("1")
    assert (await (await host.session()).run("1 + 1")).stdout == "2\n"


async def test_containers_that_died_while_waiting_are_not_handed_out(open_host, client):
    host = await open_host(pool=2)
    first = await host.session()
    [*tasks] = host.pool._waiting
    for waiting in await asyncio.gather(*tasks):
        client.api.kill(waiting.id)
    for session in (first, await host.session(), await host.session()):
        assert (await session.run("1 + 1")).stdout == "2\n"


async def test_a_container_that_answers_no_more_is_killed_at_the_deadline(open_host, client, monkeypatch):
    session = await (await open_host()).session()
    await session.run("kept = 1")
    twin, stuck = await session.fork(), session.container.id
    monkeypatch.setattr(docker_session, "GRACE_SECONDS", 0.5)
    client.api.pause(stuck)
    assert (await session.run("1", 0.2)).status == "timeout"
    assert stuck not in [found.id for found in containers_of(client, os.getpid())]
    with pytest.raises(SandboxError, match="container"):
        await twin.run("1")
    monkeypatch.undo()
    after = await session.run("'kept' in globals()")
    assert (after.stdout, after.restarted) == ("False\n", True)


@pytest.mark.parametrize(("code", "expected"), [("x = b'1' * 10**9", True), ("import os; os.abort()", False)])
async def test_a_container_that_died_for_want_of_memory_is_told_from_others(open_host, code, expected):
    host = await open_host()
    settings = container.settings(host.config, host.daemon) | {"entrypoint": ["python3", "-c"], "command": [code]}
    settings["host_config"].update(Memory=30 << 20, MemorySwap=30 << 20)
    id_ = (await host.daemon.call("create_container", **settings))["Id"]
    ended = container.Container(host.daemon, id_, None)  # type: ignore[arg-type]  # there is no gateway in it
    await host.daemon.call("start", id_)
    assert await ended.out_of_memory() is expected


async def test_closing_ends_a_run_in_flight(open_host):
    host = await open_host()
    alone, parent = await host.session(), await host.session()
    twin = await parent.fork()
    for session in (alone, parent):
        running = asyncio.ensure_future(session.run("while True: pass", 60.0))
        await begun(session)
        await session.close()
        assert (await running).status == "killed"
    assert (await twin.run("1")).stdout == "1\n"


async def test_a_cancelled_run_ends_the_program(open_host, client):
    session = await (await open_host()).session()
    code = "import subprocess\nkept = subprocess.Popen(['sleep', '1234'])\nwhile True: pass"
    running = asyncio.ensure_future(session.run(code, 60.0))
    while "1234" not in str(await asyncio.to_thread(client.api.top, session.container.id)):
        assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    result = await session.run("'kept' in globals()")
    assert (result.stdout, result.restarted) == ("False\n", True)


async def test_where_the_daemon_masks_proc_it_is_empty_and_all_else_works(open_host, monkeypatch):
    def masked(*words: Any) -> dict[str, Any]:
        fields = settings(*words)
        del fields["host_config"]["MaskedPaths"], fields["host_config"]["ReadonlyPaths"]
        return fields

    settings = container.settings
    monkeypatch.setattr(container, "settings", masked)
    session = await (await open_host()).session()
    assert (await session.run("import os\nx = 1\nos.listdir('/proc')")).stdout == "[]\n"
    assert (await (await session.fork()).run("import subprocess\nsubprocess.check_output('ls')")).stdout == "b''\n"
    assert (await session.run("console.log(2)", language="node")).stdout == "2\n"


HOST = """
import asyncio, sys
from agentgym.sandboxes.docker import Docker

async def main():
    host = await Docker(image=sys.argv[1], pool=1).open()
    session = await host.session()
    await asyncio.gather(*host.pool._waiting)
    print(flush=True)
    await session.run('while True: pass', 1000)

asyncio.run(main())
"""


def test_a_host_killed_hard_leaves_no_container(image, client):
    from docker.errors import NotFound

    host = subprocess.Popen([sys.executable, "-c", HOST, image], stdout=subprocess.PIPE)
    assert host.stdout is not None
    host.stdout.readline()
    found = containers_of(client, host.pid)
    label = owner(host.pid)
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdout.close()
    assert len(found) == 2
    for one in found:
        with suppress(NotFound):  # already
            one.wait(condition="removed", timeout=30)
    assert not client.containers.list(all=True, filters={"label": f"{LABEL}={label}"})


@pytest.fixture
def crashed() -> str:
    """The label of a host that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as host:
        return owner(host.pid)


async def test_what_a_crashed_host_left_is_removed_and_a_living_ones_stays(open_host, client, image, crashed):
    label, fields = crashed, {"entrypoint": ["true"]}
    left = client.containers.create(image, labels={LABEL: label}, **fields)
    others = [
        client.containers.create(image, labels={LABEL: text}, **fields)
        for text in (owner(os.getppid()), label.replace(label.split()[0], "another-boot"))
    ]
    try:
        await open_host()
        assert left.id not in [found.id for found in client.containers.list(all=True)]
        for other in others:
            other.reload()
    finally:
        for other in others:
            other.remove()


async def test_what_is_missing_is_named(client, image, monkeypatch):
    with pytest.raises(SandboxError, match="docker build -f sandboxes/Dockerfile --target agent -t no-such-image"):
        await Docker(image="no-such-image").open()
    with pytest.raises(SandboxError, match="no runtime 'runcc': did you mean 'runc'"):
        await Docker(image=image, runtime="runcc").open()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nothing/here.sock")
    with pytest.raises(SandboxError, match="the docker daemon does not answer"):
        await Docker(image=image).open()


async def test_a_bad_preload_is_reported_in_the_gateways_own_words(image, client):
    with pytest.raises(SandboxError, match="No module named 'no_such_module'"):
        await Docker(image=image, preload=("no_such_module",)).open()
    assert containers_of(client, os.getpid()) == []


async def test_a_run_cancelled_before_it_began_leaves_the_session_usable(open_host):
    session = await (await open_host()).session()
    for _ in range(20):
        running = asyncio.ensure_future(session.run("1", 60.0))
        await begun(session)
        running.cancel()
        await asyncio.wait({running})
    assert (await session.run("1 + 1")).stdout == "2\n"
    assert not session.container._client._questions


async def test_many_forks_of_a_live_session_fit_into_its_container(open_host):
    session = await (await open_host()).session()
    await session.run("import random\nx = [1]\nf = open('a', 'w+')\n_ = f.write('text')")
    forks = await asyncio.gather(*(session.fork() for _ in range(20)))
    for i, fork in enumerate(forks):
        await fork.run(f"x.append({i})\n_ = f.write(str({i}))\nf.flush()")
    draws = {(await each.run("random.random()")).stdout for each in (session, *forks)}
    assert len(draws) == 1
    for i, fork in enumerate(forks):
        assert (await fork.run("x, open('a').read()")).stdout == f"([1, {i}], 'text{i}')\n"
    assert (await session.run("f.flush()\nx, open('a').read()")).stdout == "([1], 'text')\n"


async def test_sessions_that_share_a_container_are_apart_and_it_takes_no_more_than_its_share(open_host):
    host = await open_host(sessions=3)
    sessions = [await host.session() for _ in range(4)]
    assert len({session.container.id for session in sessions[:3]}) == 1
    assert sessions[3].container.id != sessions[0].container.id
    for number, session in enumerate(sessions[:3]):
        await session.run(f"n = {number}\nopen('n', 'w').write(str(n))")
    await sessions[0].run("import os\nos.kill(-1, 9)")
    seen = "import os\nprint(n, open('n').read(), len([p for p in os.listdir('/proc') if p.isdigit()]))"
    assert [(await session.run(seen)).stdout for session in sessions[1:3]] == ["1 1 2\n", "2 2 2\n"]
