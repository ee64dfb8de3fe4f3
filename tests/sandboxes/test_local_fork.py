"""A live session forks: the same state at the fork, separate afterwards, or a reason why not."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from agentgym.errors import SandboxError
from agentgym.sandboxes.hosting import worker_link
from agentgym.sandboxes.local import STARTING_AT_ONCE, Local, LocalHost

PROBE = """
def _probe():
    import hashlib, os, random
    seen = [sorted((k, repr(v)) for k, v in globals().items() if k.startswith('v_'))]
    seen += [os.getcwd(), random.getstate(), [(f.name, f.tell(), f.mode) for f in handles]]
    for folder, below, files in os.walk('/workspace'):
        below.sort()
        for name in sorted(files + below):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else None
            if os.path.isfile(path):
                content = open(path, 'rb').read()
            size = status.st_size if os.path.isfile(path) else 0
            seen.append((path, status.st_mode, status.st_nlink if os.path.isfile(path) else 0, size, content))
    return hashlib.sha256(repr(seen).encode()).hexdigest()
print(_probe())
"""

BEGIN = "import os, random\nhandles = []"


def random_step(rng: random.Random) -> str:
    """One statement that changes the state of a session in some way that a fork has to carry."""
    name, number = rng.choice("abc"), rng.randrange(1000)
    return rng.choice(
        [
            f"v_{name} = {number}",
            f"v_list = globals().get('v_list', []) + [{number}]",
            f"v_drawn = random.random() * {number}",
            f"v_f = eval('lambda: {number}')()",
            f"os.makedirs('/workspace/{name}/{number % 3}', exist_ok=True)",
            f"os.chdir('/workspace/{name}') if os.path.isdir('/workspace/{name}') else os.chdir('/workspace')",
            f"open('/workspace/{name}.txt', 'a').write('{number}')",
            f"handles.append(open('/workspace/h{number % 4}.txt', '{rng.choice(['a+', 'w+'])}'))",
            f"_ = handles and (handles[-1].write('{number}'), handles[-1].flush())",
            f"_ = handles and handles[0].seek({number % 3})",
            f"os.path.lexists('/workspace/s{name}') or os.symlink('{name}.txt', '/workspace/s{name}')",
            f"os.path.exists('/workspace/{name}.txt') and not os.path.exists('/workspace/l{number}') and "
            f"os.link('/workspace/{name}.txt', '/workspace/l{number}')",
            f"os.path.exists('/workspace/{name}.txt') and os.chmod('/workspace/{name}.txt', {384 + number % 64})",
            f"open(os.environ['TMPDIR'] + '/t{name}', 'wb').truncate({number * 100})",
        ]
    )


def random_program(rng: random.Random) -> str:
    return "\n".join(random_step(rng) for _ in range(rng.randrange(1, 8)))


@pytest.fixture
async def host(walls: str) -> AsyncIterator[LocalHost]:
    opened = await Local(preload=(), timeout=60.0).open()
    yield opened
    await opened.close()


async def printed(session, code: str) -> str:
    result = await session.run(code)
    assert result.status == "ok", result
    return result.stdout.strip()


@pytest.mark.parametrize("seed", range(12))
async def test_random_programs_fork_into_equal_and_separate_worlds(host, seed):
    rng = random.Random(seed)
    parent = await host.session()
    await printed(parent, BEGIN)
    worlds = [parent]
    for _ in range(4):
        await printed(parent, random_program(rng))
        before = await printed(parent, PROBE)
        twin, child_of_twin = await parent.fork(), None
        worlds.append(twin)
        assert await printed(twin, PROBE) == before
        await printed(twin, random_program(rng) + "\nv_mark = 'twin'\nopen('/workspace/mark', 'w').write('twin')")
        changed = await printed(twin, PROBE)
        assert changed != before
        child_of_twin = await twin.fork()
        worlds.append(child_of_twin)
        assert await printed(child_of_twin, PROBE) == changed
        await printed(child_of_twin, "v_mark = 'child'\nopen('/workspace/mark', 'w').write('child')")
        assert await printed(twin, PROBE) == changed
        assert await printed(parent, PROBE) == before
    await asyncio.gather(*(world.close() for world in worlds[::2]))
    for world in worlds[1::2]:
        await printed(world, PROBE)


async def test_64_forks_asked_for_at_once_and_64_one_by_one(host):
    session = await host.session()
    await printed(session, "import random\nx = random.random()")
    drawn = await printed(session, "x")
    at_once = await asyncio.gather(*(session.fork() for _ in range(64)))
    one_by_one = [await session.fork() for _ in range(64)]
    twins = [*at_once, *one_by_one]

    async def live(n: int, twin) -> list[str]:
        await printed(twin, f"mine = {n}\nopen('mine', 'w').write(str(mine))")
        return [await printed(twin, "x"), await printed(twin, "print(mine, open('mine').read())")]

    for part in range(0, 128, 32):
        lived = await asyncio.gather(*(live(n, twins[n]) for n in range(part, part + 32)))
        assert lived == [[drawn, f"{n} {n}"] for n in range(part, part + 32)]
    assert await printed(session, "'mine' in globals(), __import__('os').listdir('.')") == "(False, [])"


async def test_a_session_forks_while_its_sibling_runs(host):
    session = await host.session()
    await printed(session, "n = 0")
    sibling = await session.fork()
    running = asyncio.ensure_future(sibling.run("while True: n += 1", 60.0))
    twin = await session.fork()
    assert await printed(twin, "n") == await printed(session, "n") == "0"
    assert not running.done()
    await sibling.close()
    assert (await running).status == "killed"


async def test_a_fork_that_was_asked_for_during_a_run_is_of_the_state_after_it(host):
    session = await host.session()
    run, fork = session.run("x = 7"), session.fork()
    _, twin = await asyncio.gather(run, fork)
    assert await printed(twin, "x") == "7"


async def test_neither_can_see_or_signal_the_others_processes(host):
    session = await host.session()
    await printed(session, "kept = 1")
    twin = await session.fork()
    for attacker, victim in ((session, twin), (twin, session)):
        await attacker.run("import os\nos.kill(-1, 9)")
        listed = "sorted(int(p) for p in os.listdir('/proc') if p.isdigit())"
        assert await printed(attacker, listed) == "[1, 2]"
        assert await printed(victim, "kept") == "1"


async def test_a_fork_has_a_fresh_sessions_limits_and_no_privileges(host):
    session = await host.session()
    read = """
import resource
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
keys = ('CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Uid', 'Gid')
print([status[k].split() for k in keys], [resource.getrlimit(n) for n in range(10)])
"""
    before = await printed(session, read)
    twin = await session.fork()
    assert await printed(twin, read) == await printed(session, read) == before


UNFORKABLE = {
    "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()": "1 thread",
    "import subprocess\np = subprocess.Popen(['sleep', '1000'])": "1 other process",
    "import os\nends = os.pipe()": "a pipe",
    "import socket\nends = socket.socketpair()": "a socket",
    "import mmap\nm = mmap.mmap(-1, 4096)": "shared memory",
    "import os\nf = open('gone', 'w+')\nos.remove('gone')": "deleted",
    "import os\nos.mkdir('d')\nos.chdir('d')\nos.rmdir('/workspace/d')": "deleted",
    "f = open('/proc/self/status')": "of the system",
    "import mmap\nopen('m', 'w').write('x' * 4096)\nf = open('m')\n"
    "m = mmap.mmap(f.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)": "mapped into memory",
    "import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)": "hides",
}


@pytest.mark.parametrize(("code", "reason"), UNFORKABLE.items(), ids=UNFORKABLE.values())
async def test_what_cannot_be_copied_is_refused_by_name_and_the_session_goes_on(host, code, reason):
    session = await host.session()
    await printed(session, f"kept = 1\n{code}\nNone")
    for _ in range(2):
        with pytest.raises(SandboxError, match=f"cannot be forked exactly: it has .*{reason}"):
            await session.fork()
    assert await printed(session, "kept") == "1"


async def test_a_long_line_of_forks_ends_with_a_reason(host):
    session = await host.session()
    await printed(session, "n = 0")
    line = [session]
    reason = ""
    while not reason and len(line) < 40:
        try:
            line.append(await line[-1].fork())
            await printed(line[-1], "n += 1")
        except SandboxError as error:
            reason = str(error)
    assert "namespaces" in reason
    assert len(line) > 20
    assert await printed(line[-1], "n") == str(len(line) - 1)
    await asyncio.gather(*(each.close() for each in line[:-1]))
    assert await printed(line[-1], "n") == str(len(line) - 1)


async def test_a_session_that_was_lost_while_it_forked_is_not_taken_for_an_empty_one(host, monkeypatch):
    session = await host.session()
    await printed(session, "x = 1")
    monkeypatch.setattr(worker_link, "BRANCH_SECONDS", 0)
    with pytest.raises(SandboxError, match="a fork was not done"):
        await session.fork()
    for _ in range(2):
        with pytest.raises(SandboxError, match="was lost while it was forked"):
            await session.run("x")


async def test_who_gives_up_a_fork_keeps_no_other_from_theirs(host):
    """Of three that are made together, the one who asked first or one who waits is cancelled."""
    for given_up in (0, 1):
        session = await host.session()
        await printed(session, "x = 1")
        async with session._lock:
            forks = [asyncio.create_task(session.fork()) for _ in range(3)]
            await asyncio.sleep(0)
        while session._asked:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)
        forks[given_up].cancel()
        ended = await asyncio.wait_for(asyncio.gather(*forks, return_exceptions=True), 60)
        assert isinstance(ended.pop(given_up), asyncio.CancelledError)
        twins = [each for each in ended if not isinstance(each, SandboxError)]
        assert len(twins) == (0 if given_up == 0 else 2)  # the work that was broken off was the session's
        for twin in twins:
            assert await printed(twin, "x") == "1"
        assert host.sessions == {session, *twins}
        await asyncio.wait_for(asyncio.gather(session.close(), *(twin.close() for twin in twins)), 60)


async def test_a_fork_that_is_given_up_before_it_began_is_made_for_the_others(host):
    session = await host.session()
    await printed(session, "x = 1")
    for _ in range(STARTING_AT_ONCE):
        await host._slots.acquire()
    async with session._lock:
        forks = [asyncio.create_task(session.fork()) for _ in range(3)]
        await asyncio.sleep(0)
    while session._asked:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)
    forks[0].cancel()
    await asyncio.wait(forks[:1])
    for _ in range(STARTING_AT_ONCE):
        host._slots.release()
    twins = await asyncio.wait_for(asyncio.gather(*forks[1:]), 60)
    assert [await printed(each, "x") for each in (session, *twins)] == ["1"] * 3


async def test_without_descriptors_a_fork_is_refused_and_the_session_goes_on(host):
    session = await host.session()
    await printed(session, "x = 1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, hard))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(10):  # there is room for one side of what a fork needs
            os.close(taken.pop())
        with pytest.raises(SandboxError, match="Too many open files"):
            await session.fork()
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert await printed(session, "x") == "1"
    twin = await session.fork()
    assert await printed(twin, "x") == "1"


async def test_closing_forks_leaves_no_descriptor(host):
    gc.collect()  # what others left is not closed meanwhile
    before = set(os.listdir("/proc/self/fd"))
    session = await host.session()
    await printed(session, "x = 1")
    twins = await asyncio.gather(*(session.fork() for _ in range(5)))
    await asyncio.gather(session.close(), *(twin.close() for twin in twins))
    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_timer_goes_on_in_both(host):
    session = await host.session()
    code = "import signal\nrung = []\nsignal.signal(signal.SIGALRM, lambda *_: rung.append(1))\nsignal.alarm(600)"
    await printed(session, f"{code}\nNone")
    twin = await session.fork()
    for each in (session, twin):
        assert 500 < float(await printed(each, "signal.getitimer(signal.ITIMER_REAL)[0]")) <= 600


async def test_files_keep_what_they_are_known_by(host):
    """Inode numbers too, whatever was deleted or moved meanwhile, so that an open database goes on in each."""
    session = await host.session()
    await printed(
        session,
        """
import os, sqlite3, stat
for n in range(30): open(f'gone{n}', 'w').close()
os.makedirs('a/b'); open('first', 'w').write('1'); os.rename('first', 'a/b/first')
for n in range(0, 30, 2): os.unlink(f'gone{n}')
os.mkdir('late'); os.rename('a', 'late/a'); os.link('late/a/b/first', 'again'); os.symlink('again', 'link')
os.mkfifo('pipe', 0o640); os.chmod('late/a/b', 0)
db = sqlite3.connect('data'); db.execute('create table t (x)'); db.commit()
def look():
    os.chmod('late/a/b', 0o700)
    paths = [os.path.join(f, n) for f, ds, ns in os.walk('.') for n in ds + ns]
    return sorted((p, s.st_ino, s.st_mode, s.st_nlink, s.st_size) for p in paths for s in [os.lstat(p)])
def add(x):
    with db: db.execute('insert into t values (?)', (x,))
    return db.execute('select x from t').fetchall()""",
    )
    for generation in (1, 2):
        twin = await session.fork()
        assert await printed(twin, "print(look())") == await printed(session, "print(look())")
        assert (await printed(twin, f"print(add({generation}))")).endswith(f"({generation},)]")
        assert (await printed(session, "print(add(9))")).endswith("(9,)]")
        session = twin
