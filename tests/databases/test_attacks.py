"""A policy that means harm: everything holds, the episode goes on, and nobody else notices."""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import suppress
from pathlib import Path

import pytest

from agentgym.database import Dialect, Template
from agentgym.databases.host import WorldHost
from agentgym.databases.inside.engine import GiveWay, Refused
from agentgym.databases.server import ENGINES
from agentgym.databases.world import World
from agentgym.errors import SqlError

from .attacks import BOTH, DUCKDB, SQLITE
from .conftest import PEOPLE, write_file

SECRET = "the-secret-4711"
ROWS = ((1, "Ann"), (2, "Bob"), (3, "Cy"))
HARMLESS = {"a pattern of doom", "many large rows", "settings of the machine"}
"""What is answered, and may be."""


class Besieged:
    """Worlds under attack. template: a file that nobody may change. port: nobody may come to it."""

    def __init__(self, host: WorldHost, folder: Path, dialect: Dialect) -> None:
        self.host = host
        self.folder = folder
        self.dialect = dialect
        self.secret, self.new = folder / "secret.csv", folder / "new"
        self.secret.write_text(f"{SECRET}\n")
        self.template = write_file(dialect, folder / "template.db")
        self.visitors = 0

    def fill(self, statement: str, port: int) -> str:
        """The statement with the names of what it is after."""
        for name, value in (("secret", self.secret), ("new", self.new), ("template", self.template.file)):
            statement = statement.replace(f"{{{name}}}", str(value))
        return statement.replace("{port}", str(port))

    def digest(self) -> tuple[str, list[str]]:
        """The template's content, and the files beside it."""
        content = Path(self.template.file).read_bytes()
        return hashlib.sha256(content).hexdigest(), sorted(path.name for path in self.folder.iterdir())

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody came."""
        self.visitors += 1
        writer.close()


async def rows(world: World) -> object:
    return (await world.execute("SELECT * FROM people ORDER BY id", 10)).rows


@pytest.mark.parametrize("access", ["read", "transaction"])
@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
async def test_every_attack_holds(host: WorldHost, tmp_path: Path, dialect: Dialect, access: str) -> None:
    attacks = BOTH | (SQLITE if dialect == "sqlite" else DUCKDB)
    assert len(attacks) >= 40
    besieged = Besieged(host, tmp_path, dialect)
    before = besieged.digest()
    server = await asyncio.start_server(besieged.visit, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        world = await host.open(besieged.template, "read" if access == "read" else "transaction")
        sibling = await host.open(besieged.template, "transaction")
        await sibling.execute("INSERT INTO people VALUES (4, 'Di')", 1)
        for name, statement in attacks.items():
            said = await said_to(world, besieged.fill(statement, port), name)
            assert SECRET not in said, name
            assert await rows(world) == ROWS, name
        assert await rows(sibling) == (*ROWS, (4, "Di"))
        assert await rows(await host.open(besieged.template)) == ROWS
    assert (besieged.digest(), besieged.visitors) == (before, 0)


async def said_to(world: World, statement: str, name: str) -> str:
    """What the policy sees of an attack, which must not have worked."""
    try:
        table = await world.execute(statement, 5)
    except SqlError as error:
        return str(error)
    assert name in HARMLESS, table
    return repr(table)


async def test_what_takes_too_much_leaves_a_transaction_as_it_was(host: WorldHost, people: Template) -> None:
    world = await host.open(people, "transaction")
    await world.execute("BEGIN", 1)
    await world.execute("DELETE FROM people WHERE id = 1", 1)
    with pytest.raises(SqlError, match=r"no result within 0\.2 s; nothing was changed by it"):
        await world.execute(BOTH["endless recursion"], 1)
    too_much = (
        r"(too much memory|no result within 0\.2 s); nothing was changed by it"  # the latter on a busy machine
    )
    with pytest.raises(SqlError, match=too_much):
        await world.execute(BOTH["a table without end"], 1)
    assert await rows(world) == ROWS[1:]
    await world.execute("ROLLBACK", 1)
    assert await rows(world) == ROWS
    await world.execute("DELETE FROM people WHERE id = 2", 1)
    assert await rows(world) == (ROWS[0], ROWS[2])


async def test_who_takes_all_there_is_keeps_nobody_from_going_on(host: WorldHost, people: Template) -> None:
    greedy = [await host.open(people, "write") for _ in range(6)]
    other = await host.open(people, "write")
    bombs = [BOTH["endless recursion"], BOTH["a table without end"], BOTH["rows without end"]] * 2
    pairs = zip(greedy, bombs, strict=True)
    running = asyncio.gather(*(world.execute(bomb, 1) for world, bomb in pairs), return_exceptions=True)
    done = 0
    while not running.done():
        await other.execute("UPDATE people SET id = id + 1", 1)
        await (await other.fork()).close()
        done += 1
    assert all(isinstance(outcome, SqlError) for outcome in await running)
    assert await rows(other) == tuple((number + done, name) for number, name in ROWS)
    assert [await rows(world) for world in greedy] == [ROWS] * 6


async def test_a_trigger_may_no_more_than_who_sets_it_off(host: WorldHost) -> None:
    world = await host.open(Template("sqlite", script=PEOPLE), "write")
    trigger = "CREATE TRIGGER t AFTER DELETE ON people BEGIN SELECT load_extension('x'); END"
    await world.execute(trigger, 1)
    with pytest.raises(SqlError, match="load_extension is not allowed here"):
        await world.execute("DELETE FROM people", 1)
    assert await rows(world) == ROWS


async def test_the_state_cannot_be_played_by_something_of_the_same_name(host: WorldHost, people: Template) -> None:
    world = await host.open(people, "transaction")
    tricks = {
        "sqlite": [
            "CREATE TEMP TABLE people AS SELECT 9 AS id, 'Zoe' AS name",
            "CREATE TEMP VIEW sqlite_schema AS SELECT 'table' AS type, 'people' AS name",
        ],
        "duckdb": [
            "CREATE TEMP TABLE people AS SELECT 9 AS id, 'Zoe' AS name",
            "CREATE MACRO duckdb_tables() AS TABLE SELECT 'x' AS schema_name, 'x' AS table_name, "
            "false AS internal, false AS temporary",
        ],
    }
    for trick in tricks[people.dialect]:
        with suppress(SqlError):
            await world.execute(trick, 1)
    state = await world.state()
    assert {name: tuple(sorted(table.rows)) for name, table in state.items()} == {"people": ROWS}


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
def test_the_database_alone_keeps_off_files_and_the_network(tmp_path: Path, dialect: Dialect) -> None:
    """Without the kernel's walls, which test_walls.py tries without a database."""
    secret, new = tmp_path / "secret.csv", tmp_path / "new"
    secret.write_text(f"{SECRET}\n")
    engine = ENGINES[dialect](Template(dialect, script=PEOPLE))
    engine.lock(128 << 20)
    for name, statement in (BOTH | (SQLITE if dialect == "sqlite" else DUCKDB)).items():
        if not {"{secret}", "{new}", "{port}", "/"}.intersection(re.findall(r"\{\w+\}|/", statement)):
            continue
        filled = statement.replace("{secret}", str(secret)).replace("{new}", str(new)).replace("{port}", "9")
        with pytest.raises((Refused, GiveWay)) as refusal:
            engine.execute(filled, 5, "transaction")
        assert SECRET not in str(refusal.value), name
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
