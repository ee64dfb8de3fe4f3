"""Forks: whatever is done in worlds and their forks, each holds what it would hold if it had been alone."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentgym.database import Dialect, Template
from agentgym.databases.host import WorldHost
from agentgym.databases.world import World
from agentgym.databases.worlds import Worlds
from agentgym.errors import SqlError

START = "CREATE TABLE t (k INTEGER, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL);"
SIBLINGS = 64
COUNT = itertools.count()
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "duckdb": "SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND database_name = current_database()",
}
numbers, names = st.integers(1, 5), st.sampled_from("abc")
statements = st.one_of(
    st.builds("INSERT INTO t VALUES ({}, '{}')".format, numbers, names),
    st.builds("UPDATE t SET v = '{}' WHERE k = {}".format, names, numbers),
    st.builds("UPDATE t SET k = k + {} WHERE v = '{}'".format, numbers, names),
    st.builds("DELETE FROM t WHERE k = {}".format, numbers),
    st.builds("CREATE TABLE t{} AS SELECT * FROM t".format, numbers),
    st.builds("DROP TABLE t{}".format, numbers),
    st.builds("CREATE TEMP TABLE temp{} AS SELECT k FROM t".format, numbers),
    st.builds("INSERT INTO t SELECT k, 'x' FROM temp{}".format, numbers),
    st.builds("ALTER TABLE t ADD COLUMN c{} INTEGER".format, numbers),
    st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK", "SELECT nothing", "INSERT INTO t (k) SELECT count(*) FROM t"]),
)
steps = st.tuples(st.integers(0, 9), st.one_of(statements, st.just("fork")))
"""In which world, and what: a statement or a fork."""


@cache
def instance() -> duckdb.DuckDBPyConnection:
    """One for all, since to start one is slow."""
    return duckdb.connect()


class Alone:
    """A database by the library itself, in which a world's whole history is played."""

    def __init__(self, dialect: Dialect, history: Sequence[str]) -> None:
        self.connection: Any
        self.dialect = dialect
        self.errors = (sqlite3.Error, duckdb.Error)
        if dialect == "sqlite":
            self.connection = sqlite3.connect(":memory:", isolation_level=None)
        else:
            self.connection = instance().cursor()
            name = f"alone{next(COUNT)}"
            self.connection.execute(f"ATTACH ':memory:' AS {name}; USE {name}")
        for statement in [*START.split(";")[:-1], *history]:
            self.run(statement)

    def run(self, statement: str) -> None:
        with suppress(*self.errors):
            self.connection.execute(statement).fetchall()

    def state(self) -> dict[str, Any]:
        """Tables, columns and rows; nothing where a failed transaction bars the view."""
        found: dict[str, Any] = {}
        try:
            for (name,) in self.connection.execute(TABLES[self.dialect]).fetchall():
                cursor = self.connection.execute(f"SELECT * FROM {name}")
                found[name] = (tuple(c[0] for c in cursor.description), sorted(cursor.fetchall(), key=repr))
        except self.errors:
            return {}
        return found


async def state(world: World) -> dict[str, Any]:
    """The same of a world."""
    try:
        tables = await world.state()
    except SqlError:
        return {}
    return {name: (table.columns, sorted(table.rows, key=repr)) for name, table in tables.items()}


async def run(world: World, statement: str) -> None:
    """A statement that may fail."""
    with suppress(SqlError):
        await world.execute(statement, 10)


async def play(host: WorldHost, dialect: Dialect, program: Sequence[tuple[int, str]]) -> None:
    """Carry out a program, and compare every world with its history played alone."""
    worlds = [await host.open(Template(dialect, script=START), "transaction")]
    histories: list[list[str]] = [[]]
    for number, what in program:
        index = number % len(worlds)
        if what == "fork":
            worlds.append(await worlds[index].fork())
            histories.append(list(histories[index]))
        else:
            await run(worlds[index], what)
            histories[index].append(what)
    for world, history in zip(worlds, histories, strict=True):
        assert await state(world) == Alone(dialect, history).state(), history
        await world.close()


def test_any_program_of_statements_and_forks(dialect: Dialect) -> None:
    with asyncio.Runner() as runner:
        host = runner.run(Worlds().open())

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(steps, min_size=8, max_size=25))
        def check(program: list[tuple[int, str]]) -> None:
            runner.run(play(host, dialect, program))

        try:
            check()
        finally:
            runner.run(host.close())


async def test_64_siblings_at_the_same_time_and_a_fork_of_each(host: WorldHost, dialect: Dialect) -> None:
    parent = await host.open(Template(dialect, script=START), "transaction")
    await parent.execute("BEGIN", 1)
    await parent.execute("INSERT INTO t VALUES (0, 'open')", 1)
    common = ["BEGIN", "INSERT INTO t VALUES (0, 'open')"]

    async def live(number: int) -> list[tuple[World, list[str]]]:
        rng = random.Random(number)
        one = await parent.fork()
        first = [f"UPDATE t SET v = 's{number}' WHERE k = {rng.randrange(4)}", rng.choice(["COMMIT", "ROLLBACK"])]
        for statement in first:
            await one.execute(statement, 1)
        two = await one.fork()
        here, there = f"INSERT INTO t VALUES ({number}, 'one')", f"DELETE FROM t WHERE k = {rng.randrange(4)}"
        await asyncio.gather(one.execute(here, 1), two.execute(there, 1))
        return [(one, [*common, *first, here]), (two, [*common, *first, there])]

    families = await asyncio.gather(*map(live, range(SIBLINGS)))
    for world, history in [(parent, common), *(member for family in families for member in family)]:
        assert await state(world) == Alone(dialect, history).state(), history


@pytest.mark.parametrize("name", ["random()", "hex(randomblob(4))"])
async def test_randomness_goes_on_the_same_in_both(host: WorldHost, name: str) -> None:
    world = await host.open(Template("sqlite", script=START), "write")
    other = await host.open(Template("sqlite", script=START), "write")
    first = [(await one.execute(f"SELECT {name}", 1)).rows for one in (world, other)]
    fork = await world.fork()
    second = [(await one.execute(f"SELECT {name}", 1)).rows for one in (world, fork, other)]
    assert first[0] == first[1] != second[0] == second[1] == second[2]
