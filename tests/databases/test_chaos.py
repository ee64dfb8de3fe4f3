"""Processes of databases are killed, or stopped: a failure of the machinery, and of nobody else's episode."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from agentgym.checks.leftovers import descendants
from agentgym.database import Access, Template
from agentgym.databases.host import WorldHost
from agentgym.databases.world import World
from agentgym.databases.worlds import Worlds
from agentgym.errors import EnvError, SqlError, TaskError

from .conftest import PEOPLE, ended, until

COUNT = "SELECT count(*) FROM people"
RECURSIVE = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < {}) SELECT count(*) FROM r"
ENDLESS = RECURSIVE.format(10**12)
SLOW = {"sqlite": 5_000_000, "duckdb": 100_000}
"""Rows that take long enough to be killed among."""


def pid_of(world: World) -> int:
    """Of the process in which it runs."""
    fields = Path(f"/proc/self/fdinfo/{world._pidfd}").read_text().split()
    return int(fields[fields.index("Pid:") + 1])


async def count(world: World) -> int:
    [[number]] = (await world.execute(COUNT, 1)).rows
    assert isinstance(number, int)
    return number


@pytest.mark.parametrize("access", ["read", "transaction"])
async def test_a_world_that_is_killed_is_lost_and_its_siblings_are_not(
    host: WorldHost, people: Template, access: Access
) -> None:
    worlds = [await host.open(people, access) for _ in range(3)]
    assert [await count(world) for world in worlds] == [3, 3, 3]
    fork = await worlds[0].fork()
    os.kill(pid_of(worlds[0]), signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(EnvError, match="world is lost: its process died"):
            await worlds[0].execute(COUNT, 1)
    assert [await count(world) for world in (*worlds[1:], fork, await host.open(people))] == [3, 3, 3, 3]
    await worlds[0].close()


async def test_who_is_killed_in_mid_statement_is_followed_by_one_that_does_it(
    host: WorldHost, people: Template
) -> None:
    """Whoever killed it: a right statement is never told to be wrong because of that."""
    host.config, rows = Worlds(seconds=30.0), SLOW[people.dialect]
    world = await host.open(people, "write")
    await world.execute("DELETE FROM people WHERE id = 1", 1)
    before = pid_of(world)
    await until(lambda: not children(before))
    running = asyncio.create_task(world.execute(RECURSIVE.format(rows), 1))
    copies = await until_there_are(before)
    os.kill(before, signal.SIGKILL)
    assert (await running).rows == ((rows,),)
    assert pid_of(world) in copies
    assert await count(world) == 2


async def until_there_are(pid: int) -> list[int]:
    """The children of a process, as soon as there are any."""
    await until(lambda: children(pid))
    return children(pid)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_world_that_stops_answering_is_killed(
    monkeypatch: pytest.MonkeyPatch, host: WorldHost, people: Template
) -> None:
    world, sibling = await host.open(people), await host.open(people)
    pid = pid_of(world)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(Worlds, "patience", 0.5)
    with pytest.raises(EnvError, match=r"it gave no answer within 0\.5 s"):
        await world.execute(COUNT, 1)
    monkeypatch.undo()
    await world.close()
    await ended(pid)
    assert await count(sibling) == 3


async def test_a_request_that_is_broken_off_ends_the_world(host: WorldHost, people: Template) -> None:
    world = await host.open(people, "write")
    running = asyncio.create_task(world.execute(ENDLESS, 1))
    await until_there_are(pid_of(world))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(EnvError, match="a request was broken off"):
        await world.execute(COUNT, 1)
    await world.close()


async def test_worlds_outlive_the_server_and_a_new_one_is_started(host: WorldHost, people: Template) -> None:
    world = await host.open(people, "write")
    [server] = [pid for pid in descendants() if "databases.server" in command(pid) and parent(pid) == os.getpid()]
    os.kill(server, signal.SIGKILL)
    assert await count(world) == await count(await world.fork()) == 3
    other = Template(people.dialect, script=PEOPLE + "DELETE FROM people;")
    await ended(server)
    assert await count(await host.open(other)) == 0


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_template_whose_process_is_killed_is_loaded_again(host: WorldHost, people: Template) -> None:
    world = await host.open(people)
    [loaded] = host._templates.values()
    os.kill(pid_of(await loaded.world), signal.SIGKILL)
    with pytest.raises(EnvError, match="its process died"):
        await host.open(people)
    assert await count(await host.open(people)) == await count(world) == 3


HOST = f"""
import asyncio
from agentgym.database import Template
from agentgym.databases.worlds import Worlds

async def main():
    host = await Worlds(seconds=0.3).open()
    worlds = [await host.open(Template(d, script={PEOPLE!r}), 'write') for d in ('sqlite', 'duckdb')]
    print('ready', flush=True)
    await asyncio.gather(*(world.execute({ENDLESS!r}, 1) for world in worlds))

asyncio.run(main())
"""


async def test_a_host_that_is_killed_leaves_no_process() -> None:
    """Not even one that is in the middle of a statement."""
    before = descendants()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOST),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    started = [pid for pid in descendants() if pid not in before]
    assert len(started) >= 6
    process.kill()
    await process.wait()
    await ended(*started)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"script": "CREATE TABLE t (a; "}, "a script cannot be loaded"),
        ({"file": "/no/such/file"}, "/no/such/file cannot be loaded"),
        ({"file": __file__}, "cannot be loaded"),
    ],
)
async def test_what_is_no_template_is_the_tasks_fault(
    host: WorldHost, dialect: str, fields: dict[str, str], complaint: str
) -> None:
    with pytest.raises(TaskError, match=complaint):
        await host.open(Template.of({"dialect": dialect, **fields}))
    assert (await (await host.open(Template.of({"dialect": dialect}))).execute("SELECT 1", 1)).rows == ((1,),)


async def test_closing_ends_a_world_at_once_whatever_it_does(host: WorldHost, people: Template) -> None:
    world = await host.open(people, "write")
    running = asyncio.create_task(world.execute(ENDLESS, 1))
    pids = [pid_of(world), *await until_there_are(pid_of(world))]
    await asyncio.gather(world.close(), world.close())
    with pytest.raises((EnvError, SqlError)):
        await running
    await ended(*pids)
